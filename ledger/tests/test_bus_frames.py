"""Messages of several events, as an observer of a real nats-server reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import nats
import pytest
from nats.aio.client import Client

from chaos.faults.process import instants
from infra.target import Target
from ledger.observe import bus
from loadtests.tests.load_servers import LOAD, NatsServer
from system import wire

STREAM = wire.PROJECTS_STREAM


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    running = NatsServer(tmp_path)
    yield running
    running.kill()


def target_of(server: NatsServer) -> Target:
    return Target(
        run_id="test", regions=["iad"], api={}, web={}, clients={}, nats=[server.url], nats_load=LOAD,
        nats_observer=LOAD, observer_dsn="", replica_dsn={}, valkey={}, stream_replicas=1, durability="", security="",
    )  # fmt: skip


def payload(partition: str, first: int, last: int) -> bytes:
    return msgspec.json.encode(
        [
            wire.ProjectEvent(
                id=f"{partition}/{position}", type="created", aggregate="projects", aggregate_id=f"project-{position}",
                partition=partition, position=position, region="iad", occurred_at="2026-01-01T00:00:00Z",
                before=None, after=None,
            )
            for position in range(first, last + 1)
        ]
    )  # fmt: skip


def observe(server: NatsServer, look: Callable[[Client], Awaitable[None]]) -> None:
    """Store frames of 3, 1 and 2 events, a health probe amid them, then look as the observer."""

    async def run() -> None:
        client = await nats.connect(server.url, user=LOAD.user, password=LOAD.password)
        js = client.jetstream()
        await js.add_stream(name=STREAM.name, subjects=STREAM.subjects, allow_direct=True)
        for partition, first, last in (("projects.1", 1, 3), ("projects.2", 7, 7)):
            await js.publish(wire.event_subject(partition), payload(partition, first, last))
        await js.publish(STREAM.health_subject, b"probe")
        await js.publish(wire.event_subject("projects.1"), payload("projects.1", 4, 5))
        await client.close()
        async with bus.observer(target_of(server)) as observer:
            await look(observer)

    asyncio.run(run())


def test_frames_are_read_whole_and_in_order_and_probes_are_left_out(server: NatsServer) -> None:
    async def look(client: Client) -> None:
        frames = await bus.frames(client, STREAM.name, instants.EVENTS, 1, 4, within_s=10)
        assert [(frame.seq, frame.partition, frame.first, frame.last) for frame in frames] == [
            (1, "projects.1", 1, 3), (2, "projects.2", 7, 7), (4, "projects.1", 4, 5),
        ]  # fmt: skip
        last = await bus.last_frame(client, STREAM.name, wire.event_subject("projects.1"))
        assert last is not None
        assert (last.seq, last.last) == (4, 5)
        behind = await bus.frame_behind(client, STREAM.name, 2, instants.EVENTS)
        assert behind is not None
        assert (behind.seq, [event.position for event in behind.events]) == (4, [4, 5])
        assert await bus.frame_behind(client, STREAM.name, 4, instants.EVENTS) is None

    observe(server, look)


def test_repeats_are_counted_by_message_however_many_events_each_holds(server: NatsServer) -> None:
    async def look(client: Client) -> None:
        js = client.jetstream()
        subscription = await js.pull_subscribe(instants.EVENTS, "analytics")
        (first,) = await subscription.fetch(1)
        since = (await bus.consumer_state(client, STREAM.name, "analytics")).delivered
        await first.nak()
        again = [(await subscription.fetch(1))[0].metadata.sequence.stream for _ in range(3)]
        assert sorted(again) == [1, 2, 4]
        assert await instants.redelivered(client, "analytics", since) == 1

    observe(server, look)


def test_what_is_no_list_of_events_is_said_by_its_sequence(server: NatsServer) -> None:
    async def look(client: Client) -> None:
        publisher = await nats.connect(server.url, user=LOAD.user, password=LOAD.password)
        await publisher.jetstream().publish(wire.event_subject("projects.3"), b"[]")
        await publisher.close()
        with pytest.raises(bus.BusError, match=rf"{STREAM.name}, message 5: expected at least one event"):
            await bus.last_frame(client, STREAM.name, instants.EVENTS)

    observe(server, look)

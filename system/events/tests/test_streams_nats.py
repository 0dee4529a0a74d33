"""The streams on a real NATS server: publishing, fetching, reading missing events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from system.domain.frames import EncodedEvent, Opener
from system.events import bus
from system.events.consuming.pull import Puller, Refused
from system.events.consuming.recover import read_missing
from system.events.publish import publish
from system.events.streams import durable_config, ensure_dead_letters, ensure_stream
from system.process import DependencyState
from system.settings import Settings
from system.wire import DEAD_LETTERS, DEAD_LETTERS_SUBJECTS, PROJECTS_STREAM, STREAMS, ProjectEvent

NAME = PROJECTS_STREAM.name
decode = msgspec.json.Decoder(list[ProjectEvent]).decode


def event(position: int, partition: int = 0) -> EncodedEvent:
    made = ProjectEvent(
        id=f"{partition}.{position}", type="updated", aggregate="projects", aggregate_id="p",
        partition=f"projects.{partition}", position=position, region="ams", occurred_at="2026-01-01T00:00:00Z",
        before=None, after=None,
    )  # fmt: skip
    return EncodedEvent(made.partition, position, made.id, msgspec.json.encode(made))


async def publish_singly(js: JetStreamContext, events: Iterable[EncodedEvent]) -> None:
    """Each in a message of its own."""
    for one in events:
        assert (await publish(js, [one], 10)).failure is None


def on_streams(settings: Settings, work: Callable[[Client], Awaitable[Any]]) -> Any:
    """Run `work` on new, empty streams."""

    async def run() -> Any:
        log = logging.getLogger("test")
        client = await bus.connect(settings, "test", DependencyState(log), log)
        js = client.jetstream()
        try:
            for stream in STREAMS:
                with contextlib.suppress(NotFoundError):
                    await js.delete_stream(stream.name)
                await ensure_stream(js, stream, 1)
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.fixture
def nats(nats_server: None, settings: Settings) -> Settings:
    return settings


def test_streams_are_created_with_the_limits_of_the_wire_and_may_be_ensured_again(nats: Settings) -> None:
    async def work(client: Client) -> None:
        js = client.jetstream()
        for stream in STREAMS:
            await ensure_stream(js, stream, 1)
            config = (await js.stream_info(stream.name)).config
            assert (config.max_msgs, config.max_age, config.duplicate_window) == (
                stream.max_msgs, stream.max_age_s, 600,
            )  # fmt: skip
            assert config.max_msg_size == 8 * 1024 * 1024
        await ensure_dead_letters(js, 1)
        await ensure_dead_letters(js, 1)
        assert (await js.stream_info(DEAD_LETTERS)).config.subjects == [DEAD_LETTERS_SUBJECTS]
        await ensure_stream(js, PROJECTS_STREAM, 1, 30)
        assert (await js.stream_info(NAME)).config.duplicate_window == 30

    on_streams(nats, work)


def test_an_event_that_is_published_again_is_stored_once(nats: Settings) -> None:
    async def work(client: Client) -> int:
        js = client.jetstream()
        batch = [event(1), event(1, 1), event(2), event(3), event(2, 1)]
        assert (await publish(js, batch, 10)).stored == {"projects.0": 3, "projects.1": 2}
        again = await publish(js, batch, 10)
        assert (again.stored, again.failure) == ({"projects.0": 3, "projects.1": 2}, None)
        return (await js.stream_info(NAME)).state.messages

    # A message a partition.
    assert on_streams(nats, work) == 2


def test_a_missing_stream_is_a_failed_publish(nats: Settings) -> None:
    async def work(client: Client) -> Any:
        await client.jetstream().delete_stream(NAME)
        return await publish(client.jetstream(), [event(1)], 10)

    outcome = on_streams(nats, work)
    assert outcome.stored == {}
    assert outcome.failure


def test_messages_are_taken_as_they_arrive_and_redelivered_if_not_acknowledged(nats: Settings) -> None:
    async def work(client: Client) -> list[int]:
        js = client.jetstream()
        await js.add_consumer(NAME, durable_config(PROJECTS_STREAM, "test"))
        seen: list[int] = []
        async with Puller(client, NAME, "test", 2) as puller:
            await publish_singly(js, [event(position) for position in range(1, 6)])
            while len(seen) < 5:
                for message in await puller.take():
                    seen.append(decode(message.data)[0].position)
                    if seen[-1] != 3:
                        await message.ack_sync(timeout=10)
            [again] = await puller.take()
            assert again.metadata.num_delivered == 2
            seen.append(decode(again.data)[0].position)
        return seen

    assert on_streams(nats, work) == [1, 2, 3, 4, 5, 3]


def test_a_consumer_that_does_not_exist_is_refused(nats: Settings) -> None:
    async def work(client: Client) -> None:
        async with Puller(client, NAME, "nobody", 10) as puller:
            with pytest.raises(Refused, match="503"):
                await puller.take()

    on_streams(nats, work)


def test_events_missing_before_a_held_one_are_read_from_the_stream(nats: Settings) -> None:
    async def work(client: Client) -> list[int]:
        js = client.jetstream()
        batch = [event(position, position % 2) for position in range(1, 31)]
        await publish_singly(js, batch)
        opener = Opener("projects")
        # Of partition 0 the positions are 2, 4, ... 30; 20 is held, at sequence 20.
        found = await read_missing(client, PROJECTS_STREAM, "projects.0", 5, (20, 20), opener)
        nothing = await read_missing(client, PROJECTS_STREAM, "projects.3", 1, (9, 30), opener)
        assert nothing == []
        return [one.position for one in found]

    assert on_streams(nats, work) == [6, 8, 10, 12, 14, 16, 18]


def test_missing_events_may_be_within_messages(nats: Settings) -> None:
    async def work(client: Client) -> list[tuple[int, bytes]]:
        js = client.jetstream()
        for start in range(1, 31, 10):
            await publish(js, [event(position) for position in range(start, start + 10)], 10)
        found = await read_missing(client, PROJECTS_STREAM, "projects.0", 8, (13, 3), Opener("projects"))
        return [(one.position, one.data) for one in found]

    assert on_streams(nats, work) == [(position, event(position).data) for position in range(8, 13)]


def test_a_message_that_is_larger_than_a_request_is_taken(nats: Settings) -> None:
    async def work(client: Client) -> list[int]:
        js = client.jetstream()
        await js.add_consumer(NAME, durable_config(PROJECTS_STREAM, "test"))
        large = EncodedEvent("projects.0", 2, "2", b'{"id": "' + b"x" * (5 * 1024 * 1024) + b'"}')
        await publish_singly(js, [event(1), large, event(3)])
        sizes: list[int] = []
        async with Puller(client, NAME, "test", 10) as puller:
            while len(sizes) < 3:
                sizes += [len(message.data) // 1024 // 1024 for message in await puller.take()]
        return sizes

    assert on_streams(nats, work) == [0, 5, 0]


def test_a_health_probe_replaces_the_previous_one(nats: Settings) -> None:
    async def work(client: Client) -> int:
        js = client.jetstream()
        await publish(js, [event(1)], 10)
        for _ in range(5):
            await js.publish(PROJECTS_STREAM.health_subject, b"", headers={"Nats-Rollup": "sub"})
        return (await js.stream_info(NAME)).state.messages

    assert on_streams(nats, work) == 2

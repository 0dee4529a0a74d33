"""A consumer's durable lives in the memory of one of the bus's three nodes. If that node is lost, the consumer goes on
with its own permissions, and applies each event once."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from infra.fabric.process.system import System
from infra.site import bus_users
from infra.target import Login
from infra.tests.small_cluster import running
from infra.topology.options import Options
from system import wire
from system.domain.frames import EncodedEvent
from system.events import bus
from system.events.consuming import guard
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.guard import Admission
from system.events.consuming.runner import Consumer
from system.events.cursors import ensure_cursor
from system.events.publish import publish
from system.events.streams import ensure_dead_letters, ensure_stream
from system.process import DependencyState
from system.settings import Settings
from system.wire import ProjectEvent

# A frozen node is noticed only by timeouts, one after the other.
pytestmark = pytest.mark.timeout(180)

STREAM = wire.PROJECTS_STREAM
NAME = "mobile-sync-ams"
LOG = logging.getLogger("test")
DEADLINE_S = 60.0


class Memory:
    """An effect that remembers what it applied, in order."""

    gather_s = 0.0

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.duplicates = 0

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        admissions = {}
        for name, arrived in batch.items():
            admissions[name] = guard.admit(len(self.applied), arrived)
            self.applied += [one.position for one in admissions[name].applicable]
            self.duplicates += len(admissions[name].duplicates)
        return admissions

    async def skip(self, partition: str, position: int, reason: str) -> None:
        raise AssertionError(f"{partition} {position} was put aside: {reason}")

    async def positions(self) -> Mapping[str, int]:
        return {"projects.0": len(self.applied)}

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    nodes = ["nats-iad-a", "nats-iad-b", "nats-iad-c"]
    with running(tmp_path_factory.mktemp("cursors") / "home", nodes, Options()) as started:
        yield started


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.full)])
def test_the_node_that_holds_the_durable_is_lost_and_each_event_takes_effect_once(
    system: System, how: signal.Signals
) -> None:
    async def work(relay: Client, consumer: Client, memory: Memory) -> None:
        await publish_some(relay, 1, 30)
        await eventually(lambda: _is(len(memory.applied), 30))
        node = await holder(consumer)
        pid = system.pid(node)
        assert pid is not None
        os.kill(pid, how)
        for first in range(31, 91, 20):
            await publish_some(relay, first, 20)
        await eventually(lambda: _is(len(memory.applied), 90))
        assert await holder(consumer) != node
        if how == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
        await publish_some(relay, 91, 10)
        await eventually(lambda: _is(len(memory.applied), 100))
        assert memory.applied == list(range(1, 101))

    consume(system, work)


def test_a_node_that_is_restarted_has_forgotten_the_durable_s_place(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are applied come again; if they are many, the consumer skips them."""
    monkeypatch.setattr("system.events.cursors._FAR_BEHIND", 20)

    async def work(relay: Client, consumer: Client, memory: Memory) -> None:
        for first in range(1, 101, 10):
            await publish_some(relay, first, 10)
        await eventually(lambda: _is(len(memory.applied), 100))
        node = await holder(consumer)
        pid = system.pid(node)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: _is(system.alive(node), False))
        system.start_part(node)
        await publish_some(relay, 101, 10)
        await eventually(lambda: _is(len(memory.applied), 110))
        assert memory.applied == list(range(1, 111))

    consume(system, work)


def test_a_durable_begins_where_the_positions_end(system: System) -> None:
    """This holds for a new durable, and for one of another kind that an older version left."""

    async def work(relay: Client, consumer: Client, memory: Memory) -> None:
        await publish_some(relay, 1, 30)
        await eventually(lambda: _is(len(memory.applied), 30))
        js = consumer.jetstream(timeout=2)
        for lacks, begins in ((12, 13), (30, 31), (0, 1)):
            await js.delete_consumer(STREAM.name, NAME)
            await ensure_cursor(js, STREAM, NAME, _positions(lacks), LOG)
            config = (await js.consumer_info(STREAM.name, NAME)).config
            assert (config.opt_start_seq or 1, config.num_replicas, config.mem_storage) == (begins, 1, True)
        assert memory.applied == list(range(1, 31))

    consume(system, work)


def test_a_stream_that_was_wiped_is_read_from_where_it_brings_anything_new(system: System) -> None:
    """Its sequences begin again; the consumer recognises events that the relay publishes again."""

    async def work(relay: Client, consumer: Client, memory: Memory) -> None:
        await publish_some(relay, 1, 30)
        await eventually(lambda: _is(len(memory.applied), 30))
        await wipe_the_bus(system)
        await publish_some(relay, 21, 20)
        await eventually(lambda: _is(len(memory.applied), 40))
        assert memory.applied == list(range(1, 41))

    consume(system, work)


async def wipe_the_bus(system: System) -> None:
    """Restart every node with an empty store, since no user of the system may delete a stream."""
    names = [name for name in system.parts if name.startswith("nats-")]
    for name in names:
        system.kill(name)
    for name in names:
        shutil.rmtree(system.parts[name].folder / "store", ignore_errors=True)
    for name in names:
        system.start_part(name)
    async with asyncio.timeout(DEADLINE_S):
        admin = await connected(system, bus_users.STREAMS_ADMIN)
        await bus.retry_jetstream(DependencyState(LOG), lambda: _make_streams(admin))
        await admin.close()


async def _make_streams(admin: Client) -> None:
    for stream in wire.STREAMS:
        await ensure_stream(admin.jetstream(timeout=5), stream, 3)
    await ensure_dead_letters(admin.jetstream(timeout=5), 3)


def _positions(applied: int) -> Callable[[], Awaitable[Mapping[str, int]]]:
    async def positions() -> Mapping[str, int]:
        return {"projects.0": applied}

    return positions


def consume(system: System, work: Callable[[Client, Client, Memory], Awaitable[None]]) -> None:
    """Run a consumer, and beside it `work` with the relay's client, the consumer's client, and the consumer's
    memory."""

    async def run() -> None:
        admin, relay, client = [await connected(system, user) for user in (bus_users.STREAMS_ADMIN, "relay", NAME)]
        await _make_streams(admin)
        memory = Memory()
        consumer = Consumer(NAME, STREAM, memory, settings_for(system, NAME), client, DependencyState(LOG), LOG)
        consuming = asyncio.create_task(consumer.run())
        try:
            async with asyncio.timeout(2 * DEADLINE_S):
                await work(relay, client, memory)
        finally:
            consuming.cancel()
            await asyncio.wait({consuming})
            for one in (admin, relay, client):
                await one.close()

    asyncio.run(run())


async def connected(system: System, user: str) -> Client:
    return await bus.connect(settings_for(system, user), "test", DependencyState(LOG), LOG)


def settings_for(system: System, user: str) -> Settings:
    """Settings without a database, which is not needed while stream and durable exist."""
    target = system.target()
    assert target.tls is not None
    login = Login(user=user, password=system.site.secrets[bus_users.secret_name(user)])
    return Settings(
        region="ams", database_hosts="127.0.0.1:1", replica="127.0.0.1:1", database_user="nobody",
        database_password="", nats_urls=",".join(target.nats), nats_user=user, nats_password=login.password,
        nats_ca=target.tls.ca_file, tls_cert=target.tls.cert_file, tls_key=target.tls.key_file,
        valkey="127.0.0.1:1", valkey_password="",
    )  # fmt: skip


def event(position: int) -> EncodedEvent:
    made = ProjectEvent(
        id=str(position), type="updated", aggregate="projects", aggregate_id="p", partition="projects.0",
        position=position, region="ams", occurred_at="2026-01-01T00:00:00Z", before=None, after=None,
    )  # fmt: skip
    return EncodedEvent(made.partition, position, made.id, msgspec.json.encode(made))


async def publish_some(client: Client, first: int, count: int) -> None:
    """Publish events one by one, each again until it is stored."""
    for position in range(first, first + count):
        async with asyncio.timeout(DEADLINE_S):
            while (await publish(client.jetstream(timeout=2), [event(position)], 5)).failure is not None:
                await asyncio.sleep(0.1)


async def holder(client: Client) -> str:
    """The node that holds the durable."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                cluster = (await client.jetstream(timeout=2).consumer_info(STREAM.name, NAME)).cluster
            except NotFoundError:
                cluster = None
            if cluster is not None and cluster.leader:
                return str(cluster.leader)
            await asyncio.sleep(0.05)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def _is(value: object, expected: object) -> bool:
    return value == expected

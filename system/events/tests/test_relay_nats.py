"""The relay between a real PostgreSQL and a real NATS: every event arrives, in order, whatever happens to either."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from system.events import bus, metrics, relay, streams
from system.events.consuming.recover import read_stream
from system.events.publish import publish
from system.events.relay import Lane
from system.events.streams import ensure_stream
from system.process import DependencyState
from system.settings import Settings
from system.store.connect import connect_primary
from system.store.item_sql import SEND_HINT
from system.wire import PROJECTS_STREAM, ProjectEvent, events_filter, partitions_of

NAME = PROJECTS_STREAM.name
LOG = logging.getLogger("test")
DEADLINE_S = 60.0
INSERT = """insert into projects (id, name, region, country_code, sector, status, funding_usd_millions)
    select gen_random_uuid(), 'P', 'ams', 'FRA', 'Energy', 'Active', 1.50 from generate_series(1, $1::int)"""
NEXT = "select partition, next_position - 1, confirmed_position from relay_partition where partition like 'projects.%'"
LISTENERS = """select count(*) from pg_stat_activity
    where application_name = 'covenant-relay-hints' and query like '%outbox_queue%' and state = 'idle'"""

decode = msgspec.json.Decoder(list[ProjectEvent]).decode


class Relay:
    """A running relay of projects; a test may run several."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self.lane = Lane(PROJECTS_STREAM, settings, client, DependencyState(LOG), LOG)

    async def __aenter__(self) -> Relay:
        self.task = asyncio.create_task(self.lane.run())
        await self.lane.holding.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


def with_servers(settings: Settings, work: Callable[[Client, asyncpg.Connection], Awaitable[None]]) -> None:
    """Run `work` on a new, empty stream."""

    async def run() -> None:
        client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
        js = client.jetstream()
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(NAME)
        await ensure_stream(js, PROJECTS_STREAM, 1)
        _, connection = await connect_primary(settings, "test")
        try:
            await work(client, connection)
        finally:
            connection.terminate()
            await client.close()

    asyncio.run(run())


@pytest.fixture
def servers(nats_server: None, database: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(relay, "_CHECK_STREAM_EVERY_S", 0.05)
    monkeypatch.setattr(relay, "_STANDBY_RETRY_S", 0.05)
    return database


async def published(client: Client) -> dict[str, list[int]]:
    """Partition -> positions, in the order in which the stream first got each. A relay that was replaced may have
    published events that its successor publishes again."""
    found: dict[str, dict[int, None]] = {name: {} for name in partitions_of("projects")}
    try:
        messages = read_stream(client, NAME, events_filter("projects"), 1)
        async with contextlib.aclosing(messages):
            async for message in messages:
                for event in decode(message.data):
                    found[event.partition][event.position] = None
    except NotFoundError:
        return {}
    return {name: list(positions) for name, positions in found.items()}


async def expect(client: Client, connection: asyncpg.Connection, count: int, after: int = 0) -> None:
    """Wait until `count` events are confirmed and the stream holds them, in order, from the position after `after`
    on."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            rows = await connection.fetch(NEXT)
            if sum(row[1] for row in rows) == count and all(row[1] == row[2] for row in rows):
                expected = {partition: list(range(after + 1, last + 1)) for partition, last, _ in rows}
                if await published(client) == expected:
                    return
            await asyncio.sleep(0.02)


def test_everything_arrives_in_order_in_few_messages(servers: Settings) -> None:
    async def work(client: Client, connection: asyncpg.Connection) -> None:
        before = metrics.CONFIRMED.labels(NAME)._value.get()
        await connection.execute(INSERT, 3_000)
        async with Relay(servers, client):
            await expect(client, connection, 3_000)
        assert metrics.CONFIRMED.labels(NAME)._value.get() == before + 3_000
        assert (await client.jetstream().stream_info(NAME)).state.messages < 40

    with_servers(servers, work)


@pytest.mark.parametrize("hinted", [True, False])
def test_a_lane_sleeps_until_a_hint_or_the_look_for_lost_ones(
    servers: Settings, monkeypatch: pytest.MonkeyPatch, hinted: bool
) -> None:
    """What is stored is confirmed without further events."""
    monkeypatch.setattr(relay, "_CHECK_STREAM_EVERY_S", 10 * DEADLINE_S)
    monkeypatch.setattr(relay, "_LOOK_EVERY_S", 10 * DEADLINE_S if hinted else 0.05)

    async def work(client: Client, connection: asyncpg.Connection) -> None:
        async with Relay(servers, client) as running:
            watching = asyncio.create_task(relay._watch(servers, {"projects": running.lane}, DependencyState(LOG)))
            try:
                while not await connection.fetchval(LISTENERS):
                    await asyncio.sleep(0.01)
                for count in (3, 6):
                    await connection.execute(INSERT, 3)
                    if hinted:
                        await connection.execute(SEND_HINT, ["users", "projects"])
                    await expect(client, connection, count)
            finally:
                watching.cancel()
                await asyncio.wait({watching})

    with_servers(servers, work)


def test_unconfirmed_events_of_an_earlier_relay_are_published(servers: Settings) -> None:
    async def work(client: Client, connection: asyncpg.Connection) -> None:
        async with Relay(servers, client):
            for _ in range(10):
                await connection.execute(INSERT, 50)
        async with Relay(servers, client):
            await connection.execute(INSERT, 10)
            await expect(client, connection, 510)

    with_servers(servers, work)


@pytest.mark.parametrize("recreated_by_others", [False, True])
def test_a_stream_that_was_wiped_gets_again_what_a_consumer_lacks(servers: Settings, recreated_by_others: bool) -> None:
    async def work(client: Client, connection: asyncpg.Connection) -> None:
        js = client.jetstream()
        async with Relay(servers, client):
            await connection.execute(INSERT, 400)
            await expect(client, connection, 400)
            await connection.execute("update consumer_position set position = 10 where partition like 'projects.%'")
            await js.delete_stream(NAME)
            if recreated_by_others:
                await ensure_stream(js, PROJECTS_STREAM, 1)
            await expect(client, connection, 400, after=10)
            await connection.execute(INSERT, 7)
            await expect(client, connection, 407, after=10)

    with_servers(servers, work)


def test_a_stream_that_was_wiped_while_no_relay_ran_gets_it_at_the_start(servers: Settings) -> None:
    async def work(client: Client, connection: asyncpg.Connection) -> None:
        async with Relay(servers, client):
            await connection.execute(INSERT, 50)
            await expect(client, connection, 50)
        await client.jetstream().delete_stream(NAME)
        async with Relay(servers, client):
            await expect(client, connection, 50)

    with_servers(servers, work)


@pytest.mark.parametrize("lost", [1, 2, 10**6])
def test_a_stream_that_lost_its_tail_gets_again_what_a_consumer_lacks(servers: Settings, lost: int) -> None:
    """The stream still knows the message ids of what it lost; it must store the events all the same."""

    async def work(client: Client, connection: asyncpg.Connection) -> None:
        js = client.jetstream()
        async with Relay(servers, client):
            for count in range(20, 200, 20):
                await connection.execute(INSERT, 20)
                await expect(client, connection, count)
            # No consumer lacks earlier events, and they are not lost: the four partitions are about equally long.
            await connection.execute("update consumer_position set position = 10 where partition like 'projects.%'")
        state = (await js.stream_info(NAME)).state
        for sequence in range(max(state.last_seq - lost, 0) + 1, state.last_seq + 1):
            await js.delete_msg(NAME, sequence)
        async with Relay(servers, client):
            await expect(client, connection, 180, after=10 if lost >= state.last_seq else 0)
            await connection.execute(INSERT, 7)
            await expect(client, connection, 187, after=10 if lost >= state.last_seq else 0)

    with_servers(servers, work)


def test_a_new_leader_that_lacks_the_tail_is_noticed(servers: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    look = streams.stream_state
    leader = "a"

    async def led(*arguments: Any) -> streams.StreamState:
        return (await look(*arguments))._replace(leader=leader)

    async def work(client: Client, connection: asyncpg.Connection) -> None:
        nonlocal leader
        js = client.jetstream()
        async with Relay(servers, client):
            await connection.execute(INSERT, 50)
            await expect(client, connection, 50)
            await js.delete_msg(NAME, (await js.stream_info(NAME)).state.last_seq)
            leader = "b"
            await expect(client, connection, 50)

    monkeypatch.setattr(streams, "stream_state", led)
    with_servers(servers, work)


def test_two_relays_at_once_lose_nothing_and_keep_the_order(servers: Settings) -> None:
    async def work(client: Client, connection: asyncpg.Connection) -> None:
        async with Relay(servers, client), Relay(servers, client):
            for _ in range(30):
                await connection.execute(INSERT, 20)
            await expect(client, connection, 600)

    with_servers(servers, work)


def test_while_the_bus_is_down_the_outbox_keeps_events_in_order(
    servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = itertools.chain([True] * 3, itertools.repeat(False))

    async def sometimes_refused(js: object, events: object, within_s: float, again: str) -> object:
        return await publish(js, events, 0.0 if next(refusals) else within_s, again)  # type: ignore[arg-type]

    monkeypatch.setattr(relay, "publish", sometimes_refused)
    identity = uuid4()

    async def work(client: Client, connection: asyncpg.Connection) -> None:
        async with Relay(servers, client):
            await connection.execute(INSERT.replace("gen_random_uuid()", f"'{identity}'::uuid"), 1)
            for _ in range(99):
                await connection.execute("update projects set version = version + 1 where id = $1", identity)
            await expect(client, connection, 100)

    with_servers(servers, work)

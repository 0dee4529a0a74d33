"""Mirrors and their promotion, on two real NATS servers, and with a real PostgreSQL where positions matter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

from infra.machine import ports
from system.events import cursors, mirrors, promote, streams
from system.events.mirrors import NotAMirror
from system.events.publish import publish
from system.events.tests.test_relay_nats import INSERT, Relay, expect
from system.events.tests.test_streams_nats import event, publish_singly
from system.events.tests.two_buses import LOG, Buses, connected, started
from system.settings import Settings, SettingsError
from system.store.connect import connect_primary
from system.wire import DEAD_LETTERS, PROJECTS_STREAM, STREAMS, partitions_of

NAME = PROJECTS_STREAM.name
DEADLINE_S = 60.0


@pytest.fixture
def buses(tmp_path: Path) -> Iterator[Buses]:
    with started(tmp_path, ports.claim()) as running:
        yield running


def on_both(settings: Settings, buses: Buses, work: Callable[[Client, Client], Awaitable[Any]]) -> Any:
    """Run `work` with a client of iad, where the streams are, and one of ams, where the mirrors are."""

    async def run() -> Any:
        here, there = buses.settings(settings, "iad"), buses.settings(settings, "ams")
        async with asyncio.timeout(DEADLINE_S), connected(here) as iad, connected(there) as ams:
            for stream in STREAMS:
                await streams.ensure_stream(iad.jetstream(), stream, 1)
            await streams.ensure_dead_letters(iad.jetstream(), 1)
            await mirrors._main(replace(here, mirrors=f"ams={buses.url('ams')}"), LOG)
            return await work(iad, ams)

    return asyncio.run(run())


async def holds(client: Client, count: int) -> None:
    while (await client.jetstream().stream_info(NAME)).state.messages != count:
        await asyncio.sleep(0.02)


def test_a_mirror_follows_with_the_same_sequences_and_takes_no_publish(settings: Settings, buses: Buses) -> None:
    async def work(iad: Client, ams: Client) -> None:
        await publish_singly(iad.jetstream(), [event(position) for position in range(1, 31)])
        for _ in range(3):
            health = {"Nats-Rollup": "sub"}
            await iad.jetstream().publish(PROJECTS_STREAM.health_subject, b"", headers=health)
        await holds(iad, 31)
        await holds(ams, 31)
        last = await ams.jetstream().get_last_msg(NAME, "covenant.projects.events.0")
        assert last.seq == 30
        with pytest.raises(NoRespondersError):
            await ams.request(PROJECTS_STREAM.health_subject, b"", timeout=5)
        assert (await publish(ams.jetstream(), [event(31)], 1)).stored == {}
        assert (await ams.jetstream().stream_info(DEAD_LETTERS)).config.mirror is not None
        await publish_singly(iad.jetstream(), [event(31)])
        await holds(ams, 32)

    on_both(settings, buses, work)


def test_a_mirror_is_created_once_and_a_stream_is_no_mirror(settings: Settings, buses: Buses) -> None:
    async def work(iad: Client, ams: Client) -> None:
        wanted = mirrors.mirror_config(streams.stream_config(PROJECTS_STREAM, 1), "iad", "ams", 1)
        await mirrors.ensure_mirror(ams.jetstream(), wanted)
        for client, other in ((iad, wanted), (ams, mirrors.mirror_config(wanted, "sin", "ams", 1))):
            with pytest.raises(NotAMirror, match="wipe its store"):
                await mirrors.ensure_mirror(client.jetstream(), other)

    on_both(settings, buses, work)


@pytest.mark.parametrize("text", ["ams", "ams=;iad=x", "=x;ams"])
def test_a_malformed_list_of_mirrors_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected region=url"):
        mirrors.parse(text)
    assert mirrors.parse("ams=a;iad=b,c") == {"ams": ["a"], "iad": ["b", "c"]}
    assert mirrors.parse("") == {}


def test_messages_that_the_database_lost_are_removed_from_the_end(settings: Settings, buses: Buses) -> None:
    async def work(iad: Client, ams: Client) -> None:
        js = iad.jetstream()
        await publish_singly(js, [event(position, position % 2) for position in range(1, 21)])
        assert await promote.cut_back(js, PROJECTS_STREAM, {"projects.0": 20, "projects.1": 13}) == 3
        assert await promote.cut_back(js, PROJECTS_STREAM, {"projects.0": 20, "projects.1": 13}) == 0
        assert (await js.get_last_msg(NAME, "covenant.projects.events.1")).seq == 13
        assert (await js.get_last_msg(NAME, "covenant.projects.events.0")).seq == 20

    on_both(settings, buses, work)


def test_consumers_begin_at_the_first_event_that_any_consumer_lacks(settings: Settings, buses: Buses) -> None:
    async def work(iad: Client, ams: Client) -> None:
        js = iad.jetstream()
        assert await cursors.first_lacking(js, PROJECTS_STREAM, {}) == 1
        for position in range(1, 41):
            await publish_singly(js, [event(position, 0), event(position, 1)])
        # Positions 31 to 40 again, as after an earlier loss.
        await publish(js, [event(position, 0) for position in range(31, 41)], 5)

        async def first(zero: int, one: int) -> int:
            return await cursors.first_lacking(js, PROJECTS_STREAM, {"projects.0": zero, "projects.1": one})

        assert await first(0, 40) == 1
        assert await first(40, 0) == 2
        assert await first(40, 40) == 82
        assert await first(40, 39) == 80
        assert await first(25, 40) == 51
        assert await first(25, 12) == 26
        # Everything that is lacking follows after either sequence.
        assert await first(35, 40) in (71, 81)

    on_both(settings, buses, work)


def test_after_the_loss_of_iad_everything_is_published_in_ams_without_gaps(
    database: Settings, buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror lacks the tail, a consumer lacks more, and the old relay comes back and stands by."""

    async def at_20() -> dict[str, int]:
        return dict.fromkeys(partitions_of("projects"), 20)

    async def work(iad: Client, ams: Client) -> None:
        here, there = buses.settings(database, "iad"), buses.settings(database, "ams")
        _, connection = await connect_primary(here, "test")
        try:
            async with Relay(here, iad):
                await connection.execute(INSERT, 200)
                await expect(iad, connection, 200)
                await same(iad, ams)
                buses.kill("ams")
                await connection.execute(INSERT, 100)
                await expect(iad, connection, 300)
                buses.kill("iad")
            await connection.execute(INSERT, 50)
            await connection.execute("update consumer_position set position = 20 where partition like 'projects.%'")
            buses.start("ams")
            for _ in range(2):
                await promote._main(there, LOG)
            async with connected(there) as client:
                async with Relay(there, client):
                    await expect(client, connection, 350)
                    assert not await takes_the_lease(here, client)
                await cursors.ensure_cursor(client.jetstream(), PROJECTS_STREAM, "analytics", at_20, LOG)
                durable = await client.jetstream().consumer_info(NAME, "analytics")
                begins = durable.config.opt_start_seq or 0
                before = await client.jetstream().get_msg(NAME, seq=begins - 1)
                assert cursors.positions_in(before)[1] <= 20
                assert begins > 1
        finally:
            connection.terminate()

    monkeypatch.setattr("system.events.relay._CHECK_STREAM_EVERY_S", 0.05)
    monkeypatch.setattr("system.events.relay._BATCH_MAX", 10)
    on_both(database, buses, work)


async def same(iad: Client, ams: Client) -> None:
    await holds(ams, (await iad.jetstream().stream_info(NAME)).state.messages)


async def takes_the_lease(settings: Settings, client: Client) -> bool:
    old = Relay(settings, client)
    task = asyncio.create_task(old.lane.run())
    done, _ = await asyncio.wait({asyncio.create_task(old.lane.holding.wait())}, timeout=0.5)
    task.cancel()
    await asyncio.wait({task})
    return bool(done)

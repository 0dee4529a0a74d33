"""The incident monitor on real servers: one open incident a problem, closed when the problem is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from system.events import bus, incident_monitor, relay
from system.events.incident_monitor import IncidentMonitor
from system.events.streams import ensure_stream
from system.process import DependencyState
from system.settings import Settings
from system.store import incidents as store
from system.store.connect import connect
from system.wire import (
    DEAD_LETTERS,
    DEAD_LETTERS_SUBJECTS,
    INCIDENTS_STREAM,
    STREAMS,
    IncidentEvent,
    dead_letter_subject,
)

LOG = logging.getLogger("test")
T = TypeVar("T")
NO_LETTERS: dict[str, int] = {}
INCIDENTS = "select kind, subject, region, status, version from incidents order by opened_at"
BEHIND = "update relay_partition set confirmed_position = confirmed_position + $1 where partition = 'projects.0'"
CAUGHT_UP = """
update consumer_position c set position = r.confirmed_position from relay_partition r where r.partition = c.partition"""


def on(settings: Settings, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Run `work` with a connection of the application's role."""

    async def run() -> T:
        connection = await connect(settings.replica, settings, "test")
        try:
            return await work(connection)
        finally:
            connection.terminate()

    return asyncio.run(run())


async def incidents(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(INCIDENTS)]


def test_a_consumer_that_lags_has_one_incident_which_closes_by_itself(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        watching = IncidentMonitor("iad")
        await watching.round(connection, 0, NO_LETTERS)
        await connection.execute(BEHIND, 5_000)
        await connection.execute("update consumer_position set position = 5000 where consumer <> 'analytics'")
        for now_s in range(1, 8):
            await watching.round(connection, now_s, NO_LETTERS)
        assert await incidents(connection) == [("consumer-lag", "analytics", "iad", "open", 1)]
        # Another monitor, without any state, continues from there.
        watching = IncidentMonitor("iad")
        await connection.execute(CAUGHT_UP)
        for now_s in range(10, 20):
            await watching.round(connection, now_s, NO_LETTERS)
        assert await incidents(connection) == [("consumer-lag", "analytics", "iad", "closed", 2)]

    on(database, work)


def test_a_report_that_stays_behind_is_an_incident_of_its_region(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        watching = IncidentMonitor("iad")
        await connection.execute(
            "insert into consumer_position values ('mobile-sync-syd', 'projects.0', 0, now() - interval '1 hour')"
        )
        await watching.round(connection, 0, NO_LETTERS)
        # A missing report alone is no incident: there was nothing to apply.
        assert await incidents(connection) == []
        await connection.execute(BEHIND, 1)
        await connection.execute("update consumer_position set position = 1 where reported_at is null")
        for now_s in range(1, 14):
            await watching.round(connection, now_s, NO_LETTERS)
        assert await incidents(connection) == [("consumer-lag", "mobile-sync-syd", "syd", "open", 1)]

    on(database, work)


def test_an_incident_is_an_event_as_any_change(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        incident = store.SystemIncident("iad", "consumer-lag", "warning", "analytics", "analytics lags", "far behind")
        await store.open_incident(connection, incident)
        await store.open_incident(connection, incident)
        await store.close_incident(connection, "consumer-lag", "analytics")
        await store.close_incident(connection, "consumer-lag", "analytics")
        rows = await connection.fetch("select type, region from outbox where aggregate = 'incidents' order by id")
        assert [tuple(row) for row in rows] == [("created", "iad"), ("updated", "iad")]

    on(database, work)


def test_a_failover_opens_an_incident_that_an_operator_closes(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        watching = IncidentMonitor("iad")
        await watching.round(connection, 0, NO_LETTERS)
        await watching.round(connection, 1, NO_LETTERS)
        assert await incidents(connection) == []
        now = await connection.fetchval("select value from watch_seen where name = 'timeline'")
        for before in ("7", "8"):
            await connection.execute("update watch_seen set value = $1", before)
            await watching.round(connection, 2, NO_LETTERS)
            await watching.round(connection, 3, NO_LETTERS)
        assert await incidents(connection) == [("failover", "postgres", "iad", "open", 2)]
        detail = await connection.fetchval("select detail from incidents")
        assert detail.splitlines() == [
            f"The primary went from timeline {before} to {now}: another member was promoted." for before in ("7", "8")
        ]

    on(database, work)


def test_dead_letters_are_an_incident_until_they_are_replayed(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        watching = IncidentMonitor("iad")
        await connection.execute("insert into consumer_skipped values ('analytics', 'projects.0', 7, 'cannot be read')")
        await watching.round(connection, 0, {"cache-invalidator-syd": 2})
        await watching.round(connection, 1, {"cache-invalidator-syd": 2})
        opened = sorted(await incidents(connection))
        assert opened == [
            ("dead-letter", "analytics", "iad", "open", 1), ("dead-letter", "cache-invalidator-syd", "syd", "open", 1),
        ]  # fmt: skip
        await connection.execute("delete from consumer_skipped")
        # While the bus does not answer, the dead letters do not count as gone.
        await watching.round(connection, 2, None)
        assert sorted(await incidents(connection)) == opened
        await watching.round(connection, 3, NO_LETTERS)
        assert {row[3] for row in await incidents(connection)} == {"closed"}

    on(database, work)


def test_two_monitors_at_once_open_one_incident(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute("insert into consumer_skipped values ('analytics', 'projects.0', 7, 'cannot be read')")
        await IncidentMonitor("iad").round(connection, 0, NO_LETTERS)
        await connection.execute("update watch_seen set value = '7'")
        others = [await connect(database.replica, database, "test") for _ in range(4)]
        await asyncio.gather(*(IncidentMonitor("iad").round(other, 0, NO_LETTERS) for other in others))
        for other in others:
            other.terminate()
        assert sorted(await incidents(connection)) == [
            ("dead-letter", "analytics", "iad", "open", 1), ("failover", "postgres", "iad", "open", 1),
        ]  # fmt: skip

    on(database, work)


def test_old_rows_are_deleted_in_batches(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PRUNE_BATCH", 10)

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute("""
            insert into idempotency select 'client', n::text, 'hash', 200, '{}', now() - n * interval '2 hours'
            from generate_series(0, 24) n""")
        await connection.execute("""
            insert into notification (event_id, topic, title, body, state, created_at)
            select gen_random_uuid(), 'region.ams', 'T', '{}', state, now() - age * interval '1 day'
            from unnest(array['pending', 'delivered', 'expired']) state, unnest(array[1, 8]) age""")
        watching = IncidentMonitor("iad")
        await watching.round(connection, 0, NO_LETTERS)
        assert await connection.fetchval("select count(*) from idempotency") == 15
        await watching.round(connection, 1, NO_LETTERS)
        assert await connection.fetchval("select count(*) from idempotency") == 12
        left = await connection.fetch("select state from notification where created_at < now() - interval '7 days'")
        assert [row[0] for row in left] == ["pending"]

    on(database, work)


def test_traces_and_refusals_are_kept_as_long_as_events(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PRUNE_BATCH", 5)

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute("""
            insert into consumer_applied
            select 'analytics', 'projects.0', n, n, now() - n * interval '1 day' from generate_series(1, 40) n;
            insert into refusals (client_id, region, method, route, status, reason, count, last_at)
            select 'a', 'ams', 'GET', '/', 403, 'r', 1, now() - n * interval '1 day' from generate_series(1, 40) n;
            insert into idempotency select 'system:refusals', n::text, '', 204, 'null', now() - n * interval '1 day'
            from generate_series(0, 4) n""")
        watching = IncidentMonitor("iad")
        for now_s in range(5):
            await watching.round(connection, now_s, NO_LETTERS)
        # The 30th day is just over at the time of the query.
        assert [row[0] for row in await connection.fetch("select first from consumer_applied order by first")] == [
            *range(1, 30)
        ]
        assert await connection.fetchval("select count(*) from refusals") == 29
        assert await connection.fetchval("select count(*) from idempotency") == 1
        # Deleting a refusal makes no event: the audit trail got it when it was written.
        assert await connection.fetchval("select count(*) from outbox where type = 'refused'") == 40

    on(database, work)


def test_dead_letters_are_counted_by_consumer(nats_server: None, settings: Settings) -> None:
    async def run() -> None:
        client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
        try:
            js = client.jetstream()
            with contextlib.suppress(NotFoundError):  # Another test may have left one.
                await js.delete_stream(DEAD_LETTERS)
            assert await incident_monitor._letters(client) is None
            await js.add_stream(name=DEAD_LETTERS, subjects=[DEAD_LETTERS_SUBJECTS])
            assert await incident_monitor._letters(client) == {}
            for consumer, partition in [
                ("analytics", "projects.2"),
                ("analytics", "users.1"),
                ("mobile-sync-syd", "x"),
            ]:
                await js.publish(dead_letter_subject(consumer, partition), b"{}")
            assert await incident_monitor._letters(client) == {"analytics": 2, "mobile-sync-syd": 1}
            await js.delete_stream(DEAD_LETTERS)
        finally:
            await client.close()

    asyncio.run(run())


def test_within_the_relay_an_incident_reaches_its_stream(nats_server: None, database: Settings) -> None:
    async def run() -> None:
        client = await bus.connect(database, "test", DependencyState(LOG), LOG)
        js = client.jetstream()
        for stream in STREAMS:
            with contextlib.suppress(NotFoundError):
                await js.delete_stream(stream.name)
            await ensure_stream(js, stream, 1)
        relaying = asyncio.create_task(relay.main(database, LOG))
        try:
            async with asyncio.timeout(60):
                while not (await js.stream_info(INCIDENTS_STREAM.name)).state.messages:
                    await asyncio.sleep(0.05)
            message = await js.get_msg(INCIDENTS_STREAM.name, 1)
        finally:
            relaying.cancel()
            await asyncio.wait({relaying})
            await client.close()
        assert message.data is not None
        [event] = msgspec.json.decode(message.data, type=list[IncidentEvent])
        assert (event.type, event.after.kind, event.after.subject) == ("created", "dead-letter", "analytics")

    on(database, lambda c: c.execute("insert into consumer_skipped values ('analytics', 'projects.0', 7, 'rubbish')"))
    asyncio.run(run())


@pytest.mark.parametrize("reason", ["away", "mistake"])
def test_an_error_is_logged_once_and_ends_its_round_only(
    database: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    rounds = 0
    enough = asyncio.Event()

    async def counted(_: Client) -> None:
        nonlocal rounds
        rounds += 1
        if rounds > 5:
            enough.set()
        if reason == "mistake":
            raise KeyError("of the watch")

    async def run() -> None:
        nowhere = replace(database, database_hosts="127.0.0.1:1")
        watching = asyncio.create_task(incident_monitor.run(nowhere, LOG, Client()))
        async with asyncio.timeout(60):
            await enough.wait()
        watching.cancel()
        await asyncio.wait({watching})
        assert watching.cancelled()

    monkeypatch.setattr(incident_monitor, "_letters", counted)
    monkeypatch.setattr(incident_monitor, "_EVERY_S", 0.01)
    asyncio.run(run())
    expected = "primary database of the watch is away" if reason == "away" else "a round of the watch failed"
    assert [record.getMessage().partition(":")[0].partition(",")[0] for record in caplog.records] == [expected]

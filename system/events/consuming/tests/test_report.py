"""Reports of positions: PostgreSQL has a regional consumer's positions, at or behind the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import asyncpg
import pytest

from system.events import metrics
from system.events.consuming.report import Reporter
from system.events.tests.test_relay_nats import LOG
from system.process import DependencyState
from system.settings import Settings
from system.store.connect import connect_primary
from system.store.session import Unavailable
from system.wire import PROJECTS_STREAM

CONSUMER = "mobile-sync-ams"
ROWS = "select partition, position, reported_at from consumer_position where consumer = $1 order by partition"


def with_reporter(
    settings: Settings,
    consumer: str,
    read: Callable[[], Awaitable[Mapping[str, int]]] | None,
    work: Callable[[asyncpg.Connection, Reporter], Awaitable[None]],
) -> None:
    async def run() -> None:
        _, connection = await connect_primary(settings, "test")
        reporter = Reporter(consumer, read, settings, DependencyState(LOG))
        try:
            await work(connection, reporter)
        finally:
            connection.terminate()
            reporter.close()

    asyncio.run(run())


def lag(consumer: str) -> float:
    return float(metrics.LAG.labels(consumer, PROJECTS_STREAM.name)._value.get())


def test_positions_are_reported_when_they_change(database: Settings) -> None:
    known: dict[str, int] = {}

    async def read() -> Mapping[str, int]:
        return dict(known)

    async def work(connection: asyncpg.Connection, reporter: Reporter) -> None:
        await connection.execute("update relay_partition set next_position = 11 where partition like 'projects.%'")
        await reporter.report()
        assert await connection.fetch(ROWS, CONSUMER) == []
        assert lag(CONSUMER) == 40
        known.update({"projects.0": 10, "projects.1": 4})
        await reporter.report()
        first = await connection.fetch(ROWS, CONSUMER)
        assert [tuple(row)[:2] for row in first] == [("projects.0", 10), ("projects.1", 4)]
        assert lag(CONSUMER) == 26
        known["projects.1"] = 3  # As after Valkey came back with an older state.
        await reporter.report()
        second = await connection.fetch(ROWS, CONSUMER)
        assert [row[1] for row in second] == [10, 3]
        assert (second[0][2] == first[0][2], second[1][2] > first[1][2]) == (True, True)

    with_reporter(database, CONSUMER, read, work)


def test_positions_are_reported_again_to_the_next_primary(database: Settings) -> None:
    """It may lack what was reported: no disk is waited for."""

    async def read() -> Mapping[str, int]:
        return {"projects.0": 10}

    async def work(connection: asyncpg.Connection, reporter: Reporter) -> None:
        await reporter.report()
        await connection.execute("delete from consumer_position where consumer = $1", CONSUMER)
        await reporter.report()
        assert await connection.fetch(ROWS, CONSUMER) == []
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1",
            f"covenant-{CONSUMER}-report",
        )
        with pytest.raises(Unavailable):
            await reporter.report()
        await reporter.report()
        assert [row[1] for row in await connection.fetch(ROWS, CONSUMER)] == [10]

    with_reporter(database, CONSUMER, read, work)


def test_a_consumer_in_postgresql_reports_its_lag_and_no_positions(database: Settings) -> None:
    async def work(connection: asyncpg.Connection, reporter: Reporter) -> None:
        await connection.execute("update relay_partition set next_position = 6 where partition = 'projects.0'")
        await connection.execute("update consumer_position set position = 2 where partition = 'projects.0'")
        await reporter.report()
        assert lag("analytics") == 3
        assert {row[2] for row in await connection.fetch(ROWS, "analytics")} == {None}

    with_reporter(database, "analytics", None, work)


def test_where_positions_cannot_be_read_nothing_is_reported(database: Settings) -> None:
    async def read() -> Mapping[str, int]:
        raise Unavailable("as the test wants it")

    async def work(connection: asyncpg.Connection, reporter: Reporter) -> None:
        with pytest.raises(Unavailable):
            await reporter.report()
        assert await connection.fetch(ROWS, CONSUMER) == []

    with_reporter(database, CONSUMER, read, work)

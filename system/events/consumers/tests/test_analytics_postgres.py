"""Analytics on a real PostgreSQL: an event that is delivered again changes the roll-ups once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
import pytest

from system.events.consumers.analytics import Analytics
from system.events.consuming import guard
from system.events.consuming.effect import Delivery
from system.events.consuming.guard import Admission
from system.settings import Settings
from system.store import positions
from system.store.positions import State
from system.store.session import Unavailable
from system.wire import PROJECTS_STREAM, Project, ProjectEvent

T = TypeVar("T")


def creation(position: int) -> Delivery:
    project = Project(
        id=f"00000000-0000-4000-8000-{position:012}", name="P", region="syd", country_code="AUS", sector="Health",
        status="Pending", funding_usd_millions=Decimal("1.25"), version=1,
    )  # fmt: skip
    event = ProjectEvent(
        id=project.id, type="created", aggregate="projects", aggregate_id=project.id, partition="projects.0",
        position=position, region="syd", occurred_at="2026-01-01T00:00:00Z", before=None, after=project,
    )  # fmt: skip
    return Delivery(event, None)


def with_analytics(settings: Settings, work: Callable[[Analytics], Awaitable[T]]) -> T:
    async def run() -> T:
        analytics = Analytics(settings, PROJECTS_STREAM)
        try:
            return await work(analytics)
        finally:
            await analytics.close()

    return asyncio.run(run())


async def deliver(analytics: Analytics, *positions: int) -> Admission[Delivery]:
    return (await analytics.apply({"projects.0": [creation(position) for position in positions]}))["projects.0"]


def apply(settings: Settings, *batches: Sequence[int]) -> list[Admission[Delivery]]:
    """Deliver events of one partition, by their positions, batch by batch."""

    async def work(analytics: Analytics) -> list[Admission[Delivery]]:
        return [await deliver(analytics, *batch) for batch in batches]

    return with_analytics(settings, work)


def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    host, _, port = settings.replica.partition(":")
    with psycopg.connect(f"host={host} port={port} user=covenant_observer dbname={settings.database}") as connection:
        return connection.execute(query).fetchall()


CELL = "select projects, funding_usd_millions from rollup where (region, sector, status) = ('syd', 'Health', 'Pending')"
POSITION = "select position from consumer_position where consumer = 'analytics' and partition = 'projects.0'"
SKIPPED = "select position, reason from consumer_skipped"
TRACE = "select first, last from consumer_applied order by applied_at, first"


def test_events_take_effect_once_however_often_they_are_delivered(database: Settings) -> None:
    [(projects, funding)] = ask(database, CELL)
    first, second, third = apply(database, [1, 2], [2, 1, 3], [5, 3])
    assert [len(first.applicable), len(second.applicable), len(third.applicable)] == [2, 1, 0]
    assert [one.position for one in third.held] == [5]
    assert ask(database, CELL) == [(projects + 3, funding + Decimal("3.75"))]
    assert ask(database, POSITION) == [(3,)]
    assert ask(database, TRACE) == [(1, 2), (3, 3)]


def test_without_its_guard_the_trace_shows_the_doubled_effect(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def admit_everything(_: int, arrived: Sequence[Delivery], __: Set[int]) -> Admission[Delivery]:
        return Admission(sorted(arrived, key=lambda one: one.position), [], [])

    monkeypatch.setattr(guard, "admit", admit_everything)
    [(projects, _)] = ask(database, CELL)
    apply(database, [1, 2], [2])
    assert [row[0] for row in ask(database, CELL)] == [projects + 3]
    assert ask(database, TRACE) == [(1, 2), (2, 2)]


def test_a_position_that_another_instance_moved_stops_the_whole_batch(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stale_states(*_: object) -> dict[str, State]:
        return {"projects.0": State(0)}

    apply(database, [1])
    before = ask(database, CELL)
    monkeypatch.setattr(positions, "states", stale_states)
    with pytest.raises(Unavailable, match="expected to move 1 positions"):
        apply(database, [1])
    assert ask(database, CELL) == before
    assert ask(database, TRACE) == [(1, 1)]


def test_a_skipped_position_is_replayed_once(database: Settings) -> None:
    async def work(analytics: Analytics) -> None:
        await deliver(analytics, 1)
        for _ in range(2):  # Idempotent.
            await analytics.skip("projects.0", 2, "as the test wants it")
        await deliver(analytics, 3, 4)
        assert ask(database, SKIPPED) == [(2, "as the test wants it")]
        late = [await deliver(analytics, 2, 5), await deliver(analytics, 2)]
        assert [[one.position for one in admission.applicable] for admission in late] == [[2, 5], []]

    [(projects, _)] = ask(database, CELL)
    with_analytics(database, work)
    assert [row[0] for row in ask(database, CELL)] == [projects + 5]
    assert ask(database, SKIPPED) == []
    assert ask(database, POSITION) == [(5,)]
    assert sorted(ask(database, TRACE)) == [(1, 1), (2, 2), (3, 4), (5, 5)]


@pytest.mark.parametrize("position", [1, 3])
def test_only_the_next_position_can_be_skipped(database: Settings, position: int) -> None:
    async def work(analytics: Analytics) -> None:
        await deliver(analytics, 1)
        await analytics.skip("projects.0", position, "as the test wants it")

    with_analytics(database, work)
    assert ask(database, SKIPPED) == []
    assert ask(database, POSITION) == [(1,)]


def test_concurrent_replays_of_a_position_take_effect_once(database: Settings) -> None:
    async def work(analytics: Analytics) -> list[object]:
        await analytics.skip("projects.0", 1, "as the test wants it")
        others = [Analytics(database, PROJECTS_STREAM) for _ in range(4)]
        try:
            return await asyncio.gather(*(deliver(one, 1) for one in others), return_exceptions=True)
        finally:
            for one in others:
                await one.close()

    [(projects, _)] = ask(database, CELL)
    outcomes = with_analytics(database, work)
    assert all(isinstance(one, Admission | Unavailable) for one in outcomes), outcomes
    assert [row[0] for row in ask(database, CELL)] == [projects + 1]
    assert ask(database, TRACE) == [(1, 1)]

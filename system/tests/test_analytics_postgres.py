"""Analytics on a real PostgreSQL: whatever is delivered again, the roll-ups move once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from system.events.consumers import guard
from system.events.consumers.analytics import Analytics
from system.events.consumers.guard import Admission
from system.events.consumers.runner import Delivery
from system.settings import Settings
from system.store import rollups
from system.store.session import Unavailable
from system.wire import PROJECTS_STREAM, Project, ProjectEvent


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


def apply(settings: Settings, *batches: Sequence[int]) -> list[Admission[Delivery]]:
    """Deliver events of one partition, by their positions, batch by batch."""

    async def run() -> list[Admission[Delivery]]:
        analytics = Analytics(settings, PROJECTS_STREAM)
        try:
            return [
                (await analytics.apply({"projects.0": [creation(position) for position in batch]}))["projects.0"]
                for batch in batches
            ]
        finally:
            await analytics.close()

    return asyncio.run(run())


def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    host, _, port = settings.replica.partition(":")
    with psycopg.connect(f"host={host} port={port} user=covenant_observer dbname={settings.database}") as connection:
        return connection.execute(query).fetchall()


CELL = "select projects, funding_usd_millions from rollup where (region, sector, status) = ('syd', 'Health', 'Pending')"
POSITION = "select position from consumer_position where consumer = 'analytics' and partition = 'projects.0'"
TRACE = "select first, last from consumer_applied order by applied_at, first"


def test_events_take_effect_once_however_often_they_come(database: Settings) -> None:
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
    def admit_everything(_: int, arrived: Sequence[Delivery]) -> Admission[Delivery]:
        return Admission(sorted(arrived, key=lambda one: one.position), [], [])

    monkeypatch.setattr(guard, "admit", admit_everything)
    [(projects, _)] = ask(database, CELL)
    apply(database, [1, 2], [2])
    assert [row[0] for row in ask(database, CELL)] == [projects + 3]
    assert ask(database, TRACE) == [(1, 2), (2, 2)]


def test_a_position_that_another_instance_moved_stops_the_whole_batch(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stale_positions(*_: object) -> dict[str, int]:
        return {"projects.0": 0}

    apply(database, [1])
    before = ask(database, CELL)
    monkeypatch.setattr(rollups, "positions", stale_positions)
    with pytest.raises(Unavailable, match="expected to move 1 positions"):
        apply(database, [1])
    assert ask(database, CELL) == before
    assert ask(database, TRACE) == [(1, 1)]

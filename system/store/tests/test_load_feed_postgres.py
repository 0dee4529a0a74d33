"""The load's own way into the outbox, on a real PostgreSQL: what it appends is relayed like any event, and moves
nothing in the end."""

from __future__ import annotations

import asyncio

import pytest

from infra.machine.spec import EngineError
from ledger.numbered import event_of, sender_prefix
from loadtests.engine.outbox_feed import Outbox, prefix
from system.domain.frames import Opener
from system.domain.totals import deltas_of
from system.settings import Settings
from system.store import outbox
from system.store.connect import connect_primary
from system.store.tests.test_outbox_postgres import PROJECTS
from system.wire import ProjectEvent


def url(settings: Settings, port: str | None = None) -> str:
    host, _, number = settings.replica.partition(":")
    return f"postgresql://covenant_owner@{host}:{port or number}/{settings.database}?connect_timeout=1"


async def appended(settings: Settings, first: int, last: int) -> list[ProjectEvent]:
    """The events, as a relay takes them."""
    feed = Outbox(url(settings), sender_prefix(prefix("/runs/one"), 3))
    await feed.open()
    try:
        assert await feed.append(first, last) == ("ok", "")
    finally:
        await feed.close()
    _, connection = await connect_primary(settings, "test")
    try:
        lease = await outbox.take_lease(connection, PROJECTS, "iad")
        rows = await outbox.assign(connection, lease, "projects", 1_000)
    finally:
        connection.terminate()
    events = [Opener("projects").event(one.data) for one in rows]
    assert all(isinstance(event, ProjectEvent) for event in events)
    return events  # type: ignore[return-value]


@pytest.mark.parametrize(("first", "last"), [(0, 99), (0, 0), (100, 104)])
def test_events_have_their_numbers_and_leave_the_totals_as_they_were(database: Settings, first: int, last: int) -> None:
    events = asyncio.run(appended(database, first, last))
    found = [event_of(event.aggregate_id, event.position) for event in events]
    assert sorted((one.publisher, one.number) for one in found) == [(3, number) for number in range(first, last + 1)]
    assert deltas_of(events).projects == {}
    if len(events) > 1:
        assert all(deltas_of([event]).projects for event in events[:2])


def test_a_refused_batch_is_known_to_be_in_no_outbox(database: Settings) -> None:
    async def run() -> tuple[str, str]:
        feed = Outbox(url(database), "no id of a project has room for this, which no column minds: " * 10)
        await feed.open()
        try:
            return await feed.append(5, 2**70)
        finally:
            await feed.close()

    outcome, detail = asyncio.run(run())
    assert outcome == "fail"
    assert "bigint" in detail or "range" in detail


def test_a_database_that_takes_no_connection_is_told_plainly(database: Settings) -> None:
    with pytest.raises(EngineError, match="takes no connection"):
        asyncio.run(Outbox(url(database, "1"), "x").open())

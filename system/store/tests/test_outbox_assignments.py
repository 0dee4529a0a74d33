"""Assignments and confirmations on a real PostgreSQL: together in one statement, fenced off by the lease's epochs."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from system.domain.frames import EncodedEvent
from system.settings import Settings
from system.store import outbox, positions
from system.store.outbox import LeaseLost
from system.store.tests.test_outbox_postgres import INSERT, PROJECTS, all_assigned, on, with_events
from system.wire import Event

SNAPSHOT = "select pg_snapshot_xmax(pg_current_snapshot())::text"


def test_what_is_stored_is_confirmed_with_the_next_events_and_not_without_any(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        lease = await outbox.take_lease(connection, PROJECTS)
        await connection.execute(INSERT, uuid4())
        [first] = await outbox.assign(connection, lease, "projects", 10)
        before = await connection.fetchval(SNAPSHOT)
        assert await outbox.assign(connection, lease, "projects", 10, {first.partition: first.position}) == []
        assert await connection.fetchval(SNAPSHOT) == before, "an empty queue takes no transaction id"
        assert await outbox.unconfirmed(connection, lease, 10) == [first]
        await connection.execute(INSERT, uuid4())
        [second] = await outbox.assign(connection, lease, "projects", 10, {first.partition: first.position})
        assert await outbox.unconfirmed(connection, lease, 10) == [second]
        # What was confirmed stays so, whatever an older answer says.
        await outbox.confirm(connection, lease, {second.partition: second.position})
        await connection.execute(INSERT, uuid4())
        [third] = await outbox.assign(connection, lease, "projects", 10, {second.partition: 0})
        assert await outbox.unconfirmed(connection, lease, 10) == [third]

    on(database, 1, work)


def test_a_relay_that_was_replaced_confirms_nothing_with_its_next_assignment(database: Settings) -> None:
    async def work(old: asyncpg.Connection, new: asyncpg.Connection) -> None:
        lost = await outbox.take_lease(old, PROJECTS)
        for _ in range(2):
            await new.execute(INSERT, uuid4())
        [event] = await outbox.assign(old, lost, "projects", 1)
        held = await outbox.take_lease(new, PROJECTS)
        with pytest.raises(LeaseLost):
            await outbox.assign(old, lost, "projects", 10, {event.partition: event.position})
        assert await outbox.unconfirmed(new, held, 10) == [event]
        assert len(await outbox.assign(new, held, "projects", 10)) == 1

    on(database, 2, work)


def test_a_relay_that_waits_for_its_lease_while_it_is_replaced_changes_nothing(database: Settings) -> None:
    """It has seen the queue when it comes to the lock that its successor holds."""

    async def work(old: asyncpg.Connection, new: asyncpg.Connection) -> list[Event]:
        lost = await outbox.take_lease(old, PROJECTS)
        await new.execute(INSERT, uuid4())
        async with new.transaction():
            held = await outbox.take_lease(new, PROJECTS)
            waiting = asyncio.create_task(outbox.assign(old, lost, "projects", 10))
            while not await new.fetchval("select exists (select from pg_locks where not granted)"):
                await asyncio.sleep(0.01)
        with pytest.raises(LeaseLost):
            await waiting
        return await all_assigned(new, held)

    [event] = on(database, 2, work)
    assert event.position == 1


def test_two_assignments_at_once_under_one_lease_give_no_event_two_positions(database: Settings) -> None:
    async def work(one: asyncpg.Connection, other: asyncpg.Connection) -> list[EncodedEvent]:
        lease = await outbox.take_lease(one, PROJECTS)
        for _ in range(200):
            await one.execute(INSERT, uuid4())
        halves = await asyncio.gather(
            *(outbox.assign(connection, lease, "projects", 150) for connection in (one, other))
        )
        return [*halves[0], *halves[1], *await outbox.assign(one, lease, "projects", 200)]

    events = on(database, 2, work)
    assert len({event.id for event in events}) == len(events) == 200
    for partition in PROJECTS:
        found = sorted(event.position for event in events if event.partition == partition)
        assert found == list(range(1, len(found) + 1))


def test_a_confirmation_waits_for_no_disk_and_what_follows_does(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        lease, partition = await with_events(connection, 1)
        await outbox.confirm(connection, lease, {partition: 1})
        await positions.report(connection, "mobile-sync-syd", {partition: 1})
        assert await connection.fetchval("show synchronous_commit") == "on"

    on(database, 1, work)

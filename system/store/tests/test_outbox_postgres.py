"""The outbox on a real PostgreSQL: no change without its event, positions without gaps, one relay at a time."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import pytest

from system.domain.frames import EncodedEvent, Opener, cut
from system.domain.partitions import partition_of
from system.settings import Settings
from system.store import outbox, positions
from system.store.connect import connect
from system.store.outbox import LeaseLost, StandingBy
from system.store.tests.test_outbox_tables import as_role
from system.wire import (
    Aggregate,
    CountryEvent,
    Event,
    IncidentEvent,
    ProjectEvent,
    Refusal,
    User,
    UserEvent,
    partitions_of,
)

PROJECTS = partitions_of("projects")
INSERT = """insert into projects (id, name, region, country_code, sector, status, funding_usd_millions)
    values ($1, 'P', 'ams', 'FRA', 'Energy', 'Active', 1.50)"""
UPDATE = "update projects set version = version + 1 where id = $1"
DELETE = "delete from projects where id = $1"


def on(settings: Settings, connections: int, work: Callable[..., Awaitable[Any]]) -> Any:
    """Run `work` with so many connections of the application."""

    async def run() -> Any:
        opened = [await connect(settings.replica, settings, "test") for _ in range(connections)]
        try:
            return await work(*opened)
        finally:
            for connection in opened:
                connection.terminate()

    return asyncio.run(run())


def decoded(events: Iterable[EncodedEvent]) -> list[Event]:
    """As a consumer reads them; what comes beside the JSON says the same."""
    found = []
    for one in events:
        event = Opener(one.partition.partition(".")[0]).event(one.data)  # type: ignore[arg-type]
        assert (event.id, event.partition, event.position) == (one.id, one.partition, one.position)
        found.append(event)
    return found


async def all_assigned(
    connection: asyncpg.Connection, lease: outbox.Lease, aggregate: Aggregate = "projects"
) -> list[Event]:
    events: list[Event] = []
    while batch := await outbox.assign(connection, lease, aggregate, 7):
        events += decoded(batch)
    return events


def test_a_committed_change_has_an_event_and_a_rolled_back_one_has_none(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> list[Event]:
        identity = uuid4()
        undone = connection.transaction()
        await undone.start()
        await connection.execute(INSERT, uuid4())
        await undone.rollback()
        for statement in (INSERT, UPDATE, DELETE):
            await connection.execute(statement, identity)
        return await all_assigned(connection, await outbox.take_lease(connection, PROJECTS))

    events = on(database, 1, work)
    assert [event.type for event in events] == ["created", "updated", "deleted"]
    assert [event.position for event in events] == [1, 2, 3]
    created, updated, deleted = events
    assert isinstance(created, ProjectEvent)
    assert created.before is None
    assert created.after == updated.before
    assert updated.after == deleted.before
    assert deleted.after is None
    assert str(updated.after.funding_usd_millions) == "1.50"
    assert updated.after.version == 2


def test_what_is_published_again_is_in_the_same_messages(database: Settings) -> None:
    """Whatever was added meanwhile, and wherever the confirmed position is: so the stream recognises duplicates."""

    async def work(connection: asyncpg.Connection) -> None:
        identity = uuid4()
        await connection.execute(INSERT, identity)
        lease = await outbox.take_lease(connection, PROJECTS)
        published = cut(await outbox.assign(connection, lease, "projects", 100))
        for _ in range(3):
            for _ in range(2):
                await connection.execute(UPDATE, identity)
            published += cut(await outbox.assign(connection, lease, "projects", 100))
        assert [len(frame) for frame in published] == [1, 2, 2, 2]
        later = await outbox.take_lease(connection, PROJECTS)
        assert cut(await outbox.unconfirmed(connection, later, 100)) == published
        last = published[1][-1]
        await outbox.confirm(connection, later, {last.partition: last.position})
        assert cut(await outbox.unconfirmed(connection, later, 100)) == published[2:]

    on(database, 1, work)


def test_the_data_that_a_system_starts_with_is_no_event(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> list[int]:
        tables = ("countries", "projects", "outbox")
        return [await connection.fetchval(f"select count(*) from {table}") for table in tables]

    assert on(database, 1, work) == [195, 300, 0]


def test_concurrent_writers_get_positions_without_gaps_in_the_order_of_their_commits(database: Settings) -> None:
    identities = [uuid4() for _ in range(6)]

    async def write(connection: asyncpg.Connection, seed: int) -> None:
        choices = random.Random(seed)
        for _ in range(20):
            await connection.execute(UPDATE, choices.choice(identities))

    async def work(relay: asyncpg.Connection, *writers: asyncpg.Connection) -> list[Event]:
        for identity in identities:
            await relay.execute(INSERT, identity)
        lease = await outbox.take_lease(relay, PROJECTS)
        writing = asyncio.gather(*(write(writer, seed) for seed, writer in enumerate(writers)))
        events: list[Event] = []
        while not writing.done():
            events += await all_assigned(relay, lease)
        await writing
        return events + await all_assigned(relay, lease)

    events = on(database, 5, work)
    assert len(events) == 6 + 4 * 20
    positions: dict[str, list[int]] = defaultdict(list)
    versions: dict[str, list[int]] = defaultdict(list)
    for event in events:
        positions[event.partition].append(event.position)
        versions[event.aggregate_id].append(event.after.version)
    assert all(seen == list(range(1, len(seen) + 1)) for seen in positions.values())
    assert all(seen == list(range(1, len(seen) + 1)) for seen in versions.values())


def test_a_row_that_commits_late_gets_a_later_position(database: Settings) -> None:
    # Both in one partition, so that a gap would show.
    late, early = UUID(int=1), UUID(int=1)
    while late == early or partition_of("projects", str(late)) != partition_of("projects", str(early)):
        early = uuid4()

    async def work(slow: asyncpg.Connection, quick: asyncpg.Connection) -> tuple[list[Event], list[Event]]:
        lease = await outbox.take_lease(quick, PROJECTS)
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(INSERT, late)
        await quick.execute(INSERT, early)
        before = await all_assigned(quick, lease)
        await transaction.commit()
        return before, await all_assigned(quick, lease)

    before, after = on(database, 2, work)
    assert [(event.aggregate_id, event.position) for event in before] == [(str(early), 1)]
    assert [(event.aggregate_id, event.position) for event in after] == [(str(late), 2)]


def test_a_relay_that_was_replaced_changes_nothing(database: Settings) -> None:
    async def work(old: asyncpg.Connection, new: asyncpg.Connection) -> list[Event]:
        await new.execute(INSERT, uuid4())
        lost = await outbox.take_lease(old, PROJECTS)
        [event] = decoded(await outbox.assign(old, lost, "projects", 10))
        await new.execute(INSERT, uuid4())
        held = await outbox.take_lease(new, PROJECTS)
        with pytest.raises(LeaseLost):
            await outbox.assign(old, lost, "projects", 10)
        with pytest.raises(LeaseLost):
            await outbox.confirm(old, lost, {event.partition: event.position})
        assert decoded(await outbox.unconfirmed(new, held, 10)) == [event]
        await outbox.confirm(new, held, {event.partition: event.position})
        assert await outbox.unconfirmed(new, held, 10) == []
        return await all_assigned(new, held)

    assert len(on(database, 2, work)) == 1


def test_unconfirmed_events_are_returned_again_in_order(database: Settings) -> None:
    identity = uuid4()

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute(INSERT, identity)
        for _ in range(4):
            await connection.execute(UPDATE, identity)
        lease = await outbox.take_lease(connection, PROJECTS)
        events = await all_assigned(connection, lease)
        await outbox.confirm(connection, lease, {events[0].partition: 2})
        assert decoded(await outbox.unconfirmed(connection, lease, 2)) == events[2:4]
        # A confirmation never goes back.
        await outbox.confirm(connection, lease, {events[0].partition: 1})
        assert decoded(await outbox.unconfirmed(connection, lease, 10)) == events[2:]

    on(database, 1, work)


def test_every_kind_of_event_leaves_as_the_wire_says(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> dict[str, list[Event]]:
        await connection.execute("update countries set name = $1, version = 2 where id = 'FRA'", 'La "France" \\ é')
        await connection.execute("insert into users (id, role, rate_per_s) values ('tool', 'reader', 10)")
        await connection.execute("delete from users where id = 'tool'")
        await connection.execute("""insert into refusals
            (client_id, region, method, route, status, reason, count, last_at)
            values ('a "client"', 'syd', 'GET', '/x', 403, 'no "role"', 3, '2026-01-01T00:00:00Z')""")
        await connection.execute("""insert into incidents (region, kind, severity, subject, title, detail, raised_by)
            values ('ams', 'reported', 'info', 's', 't', E'two\nlines', 'tool')""")
        found: dict[str, list[Event]] = {}
        for aggregate in get_args(Aggregate):
            lease = await outbox.take_lease(connection, partitions_of(aggregate))
            found[aggregate] = await all_assigned(connection, lease, aggregate)
        return found

    found = on(database, 1, work)
    [country] = found["countries"]
    assert isinstance(country, CountryEvent)
    assert (country.after.name, country.region, country.before.version) == ('La "France" \\ é', "ams", 1)
    created, deleted, refused = sorted(found["users"], key=lambda one: one.type)
    assert isinstance(created, UserEvent)
    assert isinstance(deleted, UserEvent)
    assert created.after is not None
    incarnation = created.after.incarnation
    assert incarnation > 0
    tool = User(
        id="tool", role="reader", region=None, rate_per_s=10, disabled=False, version=1, incarnation=incarnation
    )  # fmt: skip
    assert (created.before, created.after, created.region) == (None, tool, None)
    assert (deleted.before, deleted.after, deleted.refusal) == (tool, None, None)
    assert isinstance(refused, UserEvent)
    assert refused.refusal == Refusal(
        client_id='a "client"', region="syd", method="GET", route="/x", status=403, reason='no "role"', count=3,
        last_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    assert (refused.aggregate_id, refused.region, refused.after) == ('a "client"', "syd", None)
    [incident] = found["incidents"]
    assert isinstance(incident, IncidentEvent)
    assert (incident.before, incident.after.detail) == (None, "two\nlines")
    assert incident.occurred_at.endswith("Z")


async def with_events(connection: asyncpg.Connection, count: int) -> tuple[outbox.Lease, str]:
    """So many events of one partition, all assigned and confirmed."""
    identity = uuid4()
    await connection.execute(INSERT, identity)
    for _ in range(count - 1):
        await connection.execute(UPDATE, identity)
    lease = await outbox.take_lease(connection, PROJECTS)
    [partition] = {event.partition for event in await all_assigned(connection, lease)}
    await outbox.confirm(connection, lease, {partition: count})
    return lease, partition


async def stand(connection: asyncpg.Connection, consumer: str, partition: str, position: int) -> None:
    await connection.execute(
        "update consumer_position set position = $3 where consumer = $1 and partition = $2",
        consumer, partition, position,
    )  # fmt: skip


def test_a_recreated_stream_gets_what_any_consumer_lacks(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        lease, partition = await with_events(connection, 9)
        for consumer, position in (("analytics", 9), ("audit-logger", 5), ("notifications", 7)):
            await stand(connection, consumer, partition, position)
        await positions.report(connection, "mobile-sync-syd", {partition: 4})
        assert await outbox.record_stream(connection, lease, "projects", "then") == {}
        assert await outbox.unconfirmed(connection, lease, 10) == []
        assert await outbox.record_stream(connection, lease, "projects", "now") == {partition: 4}
        assert [one.position for one in await outbox.unconfirmed(connection, lease, 10)] == [5, 6, 7, 8, 9]
        await outbox.confirm(connection, lease, {partition: 9})
        assert await outbox.record_stream(connection, lease, "projects", "now") == {}
        assert await outbox.unconfirmed(connection, lease, 10) == []

    on(database, 1, work)


def test_a_stream_that_lost_its_tail_gets_what_any_consumer_lacks_of_that(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        lease, partition = await with_events(connection, 9)
        for consumer, position in (("analytics", 9), ("audit-logger", 5), ("notifications", 7)):
            await stand(connection, consumer, partition, position)
        for held, expected in ((9, {}), (10, {}), (8, {partition: 8}), (6, {partition: 6}), (2, {partition: 5})):
            assert await outbox.go_back_to_held(connection, lease, {partition: held}) == expected
            await outbox.confirm(connection, lease, {partition: 9})
        # The stream holds nothing: it lost everything, or its limits removed it.
        assert await outbox.go_back_to_held(connection, lease, {partition: 0}) == {partition: 5}
        assert await outbox.go_back_to_held(connection, lease, {partition: 0}) == {}
        await outbox.confirm(connection, lease, {partition: 9})
        await stand(connection, "audit-logger", partition, 9)
        await stand(connection, "notifications", partition, 9)
        assert await outbox.go_back_to_held(connection, lease, {partition: 0}) == {}
        await outbox.take_lease(connection, PROJECTS)
        with pytest.raises(LeaseLost):
            await outbox.go_back_to_held(connection, lease, {partition: 0})

    on(database, 1, work)


def test_a_relay_that_was_replaced_does_not_go_back(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        lease, _ = await with_events(connection, 3)
        await outbox.record_stream(connection, lease, "projects", "then")
        await outbox.take_lease(connection, PROJECTS)
        with pytest.raises(LeaseLost):
            await outbox.record_stream(connection, lease, "projects", "now")
        assert await connection.fetchval("select created_at from relay_stream") == "then"

    on(database, 1, work)


def test_positions_of_a_rolled_back_transaction_are_assigned_again(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> None:
        for _ in range(5):
            await connection.execute(INSERT, uuid4())
        lease = await outbox.take_lease(connection, PROJECTS)
        undone = connection.transaction()
        await undone.start()
        before = decoded(await outbox.assign(connection, lease, "projects", 3))
        await undone.rollback()
        assert await outbox.unconfirmed(connection, lease, 10) == []
        assert decoded(await outbox.assign(connection, lease, "projects", 3)) == before
        assert len(await all_assigned(connection, lease)) == 2

    on(database, 1, work)


def test_two_holders_of_one_lease_assign_no_position_twice(database: Settings) -> None:
    """Such as a relay that reconnects before its old connection has ended."""

    async def work(*relays: asyncpg.Connection) -> list[Event]:
        for _ in range(60):
            await relays[0].execute(INSERT, uuid4())
        lease = await outbox.take_lease(relays[0], PROJECTS)
        parts = await asyncio.gather(*(all_assigned(relay, lease) for relay in relays))
        return [event for part in parts for event in part]

    events = on(database, 3, work)
    assert len({event.id for event in events}) == len(events) == 60
    for partition in PROJECTS:
        given = sorted(event.position for event in events if event.partition == partition)
        assert given == list(range(1, len(given) + 1))


def test_what_is_old_and_applied_everywhere_is_pruned(database: Settings) -> None:
    async def work(connection: asyncpg.Connection) -> list[int]:
        _, partition = await with_events(connection, 9)
        with as_role(database, "covenant_owner") as link:
            link.execute("""update outbox set created_at = now() - interval '31 days' from outbox_position p
                where p.outbox_id = id and p.position <= 7""")
        for consumer, position in (("analytics", 9), ("audit-logger", 5), ("notifications", 8)):
            await stand(connection, consumer, partition, position)
        # A consumer that has not reported for as long no longer counts.
        await connection.execute(
            "insert into consumer_position values ('mobile-sync-jnb', $1, 1, now() - interval '31 days')", partition
        )
        assert [await outbox.prune(connection, 3) for _ in range(3)] == [3, 2, 0]
        await stand(connection, "audit-logger", partition, 9)
        assert [await outbox.prune(connection, 10) for _ in range(2)] == [2, 0]
        return [one.position for one in await outbox.after(connection, partition, 0, 10)]

    assert on(database, 1, work) == [8, 9]


def test_a_relay_of_another_region_than_the_active_one_gets_no_lease(database: Settings) -> None:
    async def work(old: asyncpg.Connection, new: asyncpg.Connection) -> None:
        lease = await outbox.take_lease(old, PROJECTS, "iad")
        await old.execute(INSERT, uuid4())
        await outbox.activate(new, "ams")
        with pytest.raises(LeaseLost):
            await outbox.assign(old, lease, "projects", 10)
        with pytest.raises(StandingBy, match="the active region is ams, this is iad"):
            await outbox.take_lease(old, PROJECTS, "iad")
        assert len(await all_assigned(new, await outbox.take_lease(new, PROJECTS, "ams"))) == 1

    on(database, 2, work)

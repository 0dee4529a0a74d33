"""The transactional outbox: leases on partitions, positions without gaps, unconfirmed events, retention.

A row of the outbox never changes. Its position is a row of another table; until it has one, its id is in a queue.

Taking a lease increments the epoch of its partitions. A relay that finds another epoch than its own has been replaced
(fenced off) and changes nothing. A row whose transaction commits late gets a later position: rows of one aggregate
commit in the order of their ids, and no other order has to be kept.

PostgreSQL makes the JSON that is published, so that the relay need not decode events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from system.domain.frames import EncodedEvent
from system.store.connect import Record
from system.wire import Aggregate

_NOTHING: Mapping[str, int] = {}

RETENTION_DAYS = 30
"""An event stays in the outbox at least as long as in the stream with the longest retention."""

# The fields of wire.Event and its subclasses; a refusal is stored in the column `after`.
_EVENT = """o.partition, o.position, o.event_id::text, concat(
    '{"id":"', o.event_id, '","type":"', o.type, '","aggregate":"', o.aggregate,
    '","aggregate_id":', to_json(o.aggregate_id), ',"partition":"', o.partition, '","position":', o.position,
    ',"region":', coalesce(to_json(o.region)::text, 'null'), ',"occurred_at":"',
    to_char(o.occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    case o.type when 'refused' then '","before":null,"after":null,"refusal":' || o.after::text else
        '","before":' || coalesce(o.before::text, 'null') || ',"after":' || coalesce(o.after::text, 'null') end,
    '}')"""
# Locked until the lease is taken, so that no lease is taken while the active region is being changed.
_ACTIVE = "select region from active_region for share"
_ACTIVATE = "update active_region set region = $1"
_END_LEASES = "update relay_partition set epoch = epoch + 1"
_HEADS = "select partition, next_position - 1 from relay_partition"
_TAKE = "update relay_partition set epoch = epoch + 1 where partition = any($1) returning partition, epoch"
_QUEUED = "select a from unnest($1::text[]) a where exists (select from outbox_queue where aggregate = a)"
_HOLD = """
select partition from relay_partition r join unnest($1::text[], $2::bigint[]) as l (partition, epoch)
using (partition, epoch) order by partition for update of r"""
# One statement, since each more is a round trip and two wake-ups. It locks the lease's partitions, unless nothing is
# queued, and goes on only with all of them. A lock that a replaced relay held is gone once the lease is taken, so the
# snapshot includes everything that it committed; an id that is gone all the same is not in `taken`.
_ASSIGN = f"""
with batch as (
    select array(select id from outbox_queue where aggregate = $1 order by id limit $2) as ids
), held as materialized (
    select r.partition, r.next_position, l.confirmed
    from relay_partition r join unnest($3::text[], $4::bigint[], $5::bigint[]) as l (partition, epoch, confirmed)
    using (partition, epoch) where (select ids <> '{{}}' from batch) order by r.partition for update of r
), lease as materialized (
    select count(*) = cardinality($3::text[]) as held, (select ids <> '{{}}' from batch) as needed from held
), taken as (
    delete from outbox_queue where (select held from lease) and aggregate = $1
        and id = any((select ids from batch)::bigint[]) returning id
), given as (
    select o.*, h.next_position + row_number() over (partition by o.partition order by o.id) - 1 as position
    from outbox o join held h using (partition) where o.id = any(array(select id from taken)::bigint[])
), kept as (
    insert into outbox_position (outbox_id, partition, position) select id, partition, position from given
), advanced as (
    update relay_partition r set next_position = coalesce(n.last + 1, r.next_position),
        confirmed_position = greatest(r.confirmed_position, h.confirmed)
    from held h left join (select partition, max(position) as last from given group by partition) n using (partition)
    where r.partition = h.partition and (select held from lease)
        and (n.last is not null or h.confirmed > r.confirmed_position)
)
select {_EVENT}, case when o.id is not null then pg_current_xact_id()::xid::text end, needed and not held as lost
from lease left join given o on true order by o.id"""
# Reads the outbox rows of `found` one by one, by id. Without `offset 0` the planner, which does not know the value of
# the limit, often chooses to scan the whole outbox.
_OUTBOX_ROW = """cross join lateral (
    select e.*, found.position from outbox e where e.id = found.outbox_id offset 0
) o"""
# A row with a position is never updated, so its xmin is the transaction that assigned the position.
_UNCONFIRMED = f"""
select {_EVENT}, found.batch::text from relay_partition r cross join lateral (
    select outbox_id, position, xmin as batch from outbox_position
    where partition = r.partition and position > r.confirmed_position order by position limit $2
) found {_OUTBOX_ROW} where r.partition = any($1) order by o.partition, o.position"""
AFTER = f"""
select {_EVENT} from (
    select outbox_id, position from outbox_position where partition = $1 and position > $2 order by position limit $3
) found {_OUTBOX_ROW} order by o.position"""
# If a failover loses a confirmation, its events are published again, and nothing worse. So it waits for no disk.
_CONFIRM = """
update relay_partition r set confirmed_position = greatest(confirmed_position, c.position)
from unnest($1::text[], $2::bigint[], $3::bigint[]) as c (partition, epoch, position)
where r.partition = c.partition and r.epoch = c.epoch and (select set_config('synchronous_commit', 'off', true)) = 'off'
"""

_STREAM = "select created_at from relay_stream where aggregate = $1"
_RECORD_STREAM = """
insert into relay_stream (aggregate, created_at) values ($1, $2)
on conflict (aggregate) do update set created_at = excluded.created_at"""
# A consumer that has not reported for as long as events are retained no longer exists.
_REGISTERED = f"(reported_at is null or reported_at > now() - interval '{RETENTION_DAYS} days')"
_LOWEST = f"""
select partition, min(position) as position from consumer_position where {_REGISTERED} group by partition"""
_GO_BACK = f"""
update relay_partition r set confirmed_position = least(r.confirmed_position, l.position)
from ({_LOWEST}) l where l.partition = r.partition and r.partition = any($1) and l.position < r.confirmed_position
returning r.partition, r.confirmed_position"""
# Not below what every consumer has applied: those events are not needed again.
_GO_BACK_TO_HELD = f"""
update relay_partition r set confirmed_position = greatest(held.position, l.position)
from unnest($1::text[], $2::bigint[]) held (partition, position) join ({_LOWEST}) l using (partition)
where r.partition = held.partition and greatest(held.position, l.position) < r.confirmed_position
returning r.partition, r.confirmed_position"""
_PRUNE = f"""
with old as (
    select o.id from outbox_events o join relay_partition r using (partition) join ({_LOWEST}) l using (partition)
    where o.created_at < now() - interval '{RETENTION_DAYS} days'
        and o.position <= least(l.position, r.confirmed_position)
    order by o.id limit $1
), forgotten as (
    delete from outbox_position where outbox_id in (select id from old)
)
delete from outbox where id in (select id from old)"""


class StandingBy(Exception):
    """Another region is the active one, so a relay here has nothing to do."""


class LeaseLost(Exception):
    """Another relay has taken the lease; nothing was changed."""


@dataclass(frozen=True)
class Lease:
    """Partition -> epoch, as this relay took them."""

    epochs: Mapping[str, int]


async def take_lease(connection: asyncpg.Connection, partitions: Sequence[str], region: str | None = None) -> Lease:
    """Become the only relay of these partitions. StandingBy if the active region is another one than `region`."""
    async with connection.transaction():
        active = await connection.fetchval(_ACTIVE)
        if region is not None and active not in (None, region):
            raise StandingBy(f"the active region is {active}, this is {region}")
        return Lease({row[0]: row[1] for row in await connection.fetch(_TAKE, list(partitions))})


async def activate(connection: asyncpg.Connection, region: str) -> None:
    """Make a region the active one. Every relay loses its lease; only relays of this region can take it again."""
    async with connection.transaction():
        await connection.execute(_ACTIVATE, region)
        await connection.execute(_END_LEASES)


async def heads(connection: asyncpg.Connection) -> dict[str, int]:
    """Partition -> the last position that was assigned."""
    return {row[0]: row[1] for row in await connection.fetch(_HEADS)}


async def unconfirmed(connection: asyncpg.Connection, lease: Lease, limit: int) -> list[EncodedEvent]:
    """Events that have a position and are not confirmed, in order, at most `limit` a partition."""
    return events_of(await connection.fetch(_UNCONFIRMED, list(lease.epochs), limit))


async def after(connection: asyncpg.Connection, partition: str, position: int, limit: int) -> list[EncodedEvent]:
    """The events of a partition after this position, in order, at most `limit`."""
    return events_of(await connection.fetch(AFTER, partition, position, limit))


async def queued(connection: asyncpg.Connection, aggregates: Iterable[Aggregate]) -> list[Aggregate]:
    """Which of the aggregates have outbox rows without a position."""
    return [row[0] for row in await connection.fetch(_QUEUED, list(aggregates))]


async def assign(
    connection: asyncpg.Connection, lease: Lease, aggregate: Aggregate, limit: int, stored: Mapping[str, int] = _NOTHING
) -> list[EncodedEvent]:
    """Assign positions to the next `limit` outbox rows. Returns their events, in outbox order. If there are any, it
    confirms `stored`, too, as `confirm` does. LeaseLost; then nothing was changed."""
    confirmed = [stored.get(partition, 0) for partition in lease.epochs]
    rows = await connection.fetch(
        _ASSIGN, aggregate, limit, list(lease.epochs), list(lease.epochs.values()), confirmed
    )  # fmt: skip
    if rows[0]["lost"]:
        raise LeaseLost("another relay took over while this one assigned positions")
    return events_of([row[:5] for row in rows if row[0] is not None])


async def confirm(connection: asyncpg.Connection, lease: Lease, stored: Mapping[str, int]) -> None:
    """Record that the stream holds all events up to these positions (partition -> position). LeaseLost."""
    epochs = [lease.epochs[partition] for partition in stored]
    status = await connection.execute(_CONFIRM, list(stored), epochs, list(stored.values()))
    if int(status.rpartition(" ")[2]) != len(stored):
        raise LeaseLost(f"another relay took over: expected to confirm {len(stored)} partitions, {status}")


async def record_stream(
    connection: asyncpg.Connection, lease: Lease, aggregate: Aggregate, created_at: str
) -> dict[str, int]:
    """Record when the stream was created. If an earlier stream was recorded, this one is new and lacks what the other
    confirmed: the confirmed positions go back to what every registered consumer has applied. Returns partition -> new
    position of those that went back. LeaseLost."""
    if await connection.fetchval(_STREAM, aggregate) == created_at:
        return {}
    async with connection.transaction():
        await _hold(connection, lease)
        before = await connection.fetchval(_STREAM, aggregate)
        await connection.execute(_RECORD_STREAM, aggregate, created_at)
        if before is None or before == created_at:
            return {}
        return {row[0]: row[1] for row in await connection.fetch(_GO_BACK, list(lease.epochs))}


async def go_back_to_held(connection: asyncpg.Connection, lease: Lease, held: Mapping[str, int]) -> dict[str, int]:
    """Move confirmed positions back to the last ones that the stream still holds (`held`), where it has lost confirmed
    events that a registered consumer lacks. Returns partition -> new position of those that went back. LeaseLost."""
    async with connection.transaction():
        await _hold(connection, lease)
        return {row[0]: row[1] for row in await connection.fetch(_GO_BACK_TO_HELD, list(held), list(held.values()))}


async def prune(connection: asyncpg.Connection, limit: int) -> int:
    """Delete at most `limit` events that are older than RETENTION_DAYS and that every registered consumer has applied.
    Returns how many."""
    status = await connection.execute(_PRUNE, limit)
    return int(status.rpartition(" ")[2])


async def _hold(connection: asyncpg.Connection, lease: Lease) -> None:
    held = await connection.fetch(_HOLD, list(lease.epochs), list(lease.epochs.values()))
    if len(held) != len(lease.epochs):
        raise LeaseLost(f"another relay took over: {len(held)} of {len(lease.epochs)} partitions are held")


def events_of(rows: Sequence[Record]) -> list[EncodedEvent]:
    """The events in the rows of a statement such as AFTER; with their `batch` if the statement selects it."""
    return [
        EncodedEvent(partition, position, id_, text.encode(), *batch) for partition, position, id_, text, *batch in rows
    ]

"""The outbox: the lease on partitions, positions without gaps, what is unconfirmed, what every consumer has.

A row of the outbox never changes; its position is a row of another table, and until it has one it stands in a queue.

Whoever takes the lease raises the epoch of its partitions; a relay that finds another epoch than its own has
been replaced and changes nothing. A row that commits late is found by a later look and simply gets a later
position: rows of one aggregate commit in the order of their ids, and only that order has to be kept.

Events leave PostgreSQL as the JSON that is published, so that the relay has no need to take them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from system.domain.frames import EncodedEvent
from system.store.connect import Record
from system.wire import Aggregate

RETENTION_DAYS = 30
"""How long an event stays in the outbox at least: as long as in the longest stream."""

# The fields of wire.Event and of its kinds; a refusal stands in `after`.
_EVENT = """o.partition, o.position, o.event_id::text, concat(
    '{"id":"', o.event_id, '","type":"', o.type, '","aggregate":"', o.aggregate,
    '","aggregate_id":', to_json(o.aggregate_id), ',"partition":"', o.partition, '","position":', o.position,
    ',"region":', coalesce(to_json(o.region)::text, 'null'), ',"occurred_at":"',
    to_char(o.occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    case o.type when 'refused' then '","before":null,"after":null,"refusal":' || o.after::text else
        '","before":' || coalesce(o.before::text, 'null') || ',"after":' || coalesce(o.after::text, 'null') end,
    '}')"""
# Locked until the lease is taken, so that nobody takes it while another region is made the active one.
_ACTIVE = "select region from active_region for share"
_ACTIVATE = "update active_region set region = $1"
_END_LEASES = "update relay_partition set epoch = epoch + 1"
_HEADS = "select partition, next_position - 1 from relay_partition"
_TAKE = "update relay_partition set epoch = epoch + 1 where partition = any($1) returning partition, epoch"
_ANYTHING = "select exists (select from outbox_queue where aggregate = $1)"
_HOLD = """
select partition from relay_partition r join unnest($1::text[], $2::bigint[]) as l (partition, epoch)
using (partition, epoch) order by partition for update of r"""
# A statement of its own after _HOLD, so that it sees everything that an earlier holder did.
_ASSIGN = f"""
with batch as (
    select array(select id from outbox_queue where aggregate = $1 order by id limit $2) as ids
), taken as (
    delete from outbox_queue where aggregate = $1 and id = any((select ids from batch)::bigint[])
), given as (
    select o.*, r.next_position + row_number() over (partition by o.partition order by o.id) - 1 as position
    from outbox o join relay_partition r using (partition) where o.id = any((select ids from batch)::bigint[])
), kept as (
    insert into outbox_position (outbox_id, partition, position) select id, partition, position from given
), advanced as (
    update relay_partition r set next_position = n.last + 1
    from (select partition, max(position) as last from given group by partition) n where r.partition = n.partition
)
select {_EVENT}, pg_current_xact_id()::xid::text from given o order by o.id"""
# The rows that `found` names, read by their ids one by one: `offset 0` forbids a plan that reads the whole outbox,
# which is what a limit that is not known when the plan is made would often get.
_NAMED = """cross join lateral (
    select e.*, found.position from outbox e where e.id = found.outbox_id offset 0
) o"""
# Nothing changes a position, so its xmin is the transaction that gave it.
_UNCONFIRMED = f"""
select {_EVENT}, found.batch::text from relay_partition r cross join lateral (
    select outbox_id, position, xmin as batch from outbox_position
    where partition = r.partition and position > r.confirmed_position order by position limit $2
) found {_NAMED} where r.partition = any($1) order by o.partition, o.position"""
AFTER = f"""
select {_EVENT} from (
    select outbox_id, position from outbox_position where partition = $1 and position > $2 order by position limit $3
) found {_NAMED} order by o.position"""
# A confirmation that a failover forgets only means that its events are published again.
_CONFIRM = """
update relay_partition r set confirmed_position = greatest(confirmed_position, c.position)
from unnest($1::text[], $2::bigint[], $3::bigint[]) as c (partition, epoch, position)
where r.partition = c.partition and r.epoch = c.epoch"""

_STREAM = "select created_at from relay_stream where aggregate = $1"
_NOTE_STREAM = """
insert into relay_stream (aggregate, created_at) values ($1, $2)
on conflict (aggregate) do update set created_at = excluded.created_at"""
# Consumers that have not reported for as long as events are kept are gone.
_REGISTERED = f"(reported_at is null or reported_at > now() - interval '{RETENTION_DAYS} days')"
_LOWEST = f"""
select partition, min(position) as position from consumer_position where {_REGISTERED} group by partition"""
_CONSUMERS = f"select distinct consumer from consumer_position where {_REGISTERED} order by consumer"
_GO_BACK = f"""
update relay_partition r set confirmed_position = least(r.confirmed_position, l.position)
from ({_LOWEST}) l where l.partition = r.partition and r.partition = any($1) and l.position < r.confirmed_position
returning r.partition, r.confirmed_position"""
# What every consumer has applied nobody needs again.
_MAKE_UP = f"""
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
    """Another region is the active one: a relay here has nothing to do."""


class LeaseLost(Exception):
    """Another relay holds the partitions now; nothing was changed."""


@dataclass(frozen=True)
class Lease:
    """The epoch of each partition, as this relay took it."""

    epochs: Mapping[str, int]


async def take_lease(connection: asyncpg.Connection, partitions: Sequence[str], region: str | None = None) -> Lease:
    """Become the only relay of these partitions. StandingBy if it is not `region` that is active."""
    async with connection.transaction():
        active = await connection.fetchval(_ACTIVE)
        if region is not None and active not in (None, region):
            raise StandingBy(f"the active region is {active}, this is {region}")
        return Lease({row[0]: row[1] for row in await connection.fetch(_TAKE, list(partitions))})


async def activate(connection: asyncpg.Connection, region: str) -> None:
    """Make a region the active one: every relay loses its lease, and only one of this region gets it again."""
    async with connection.transaction():
        await connection.execute(_ACTIVATE, region)
        await connection.execute(_END_LEASES)


async def heads(connection: asyncpg.Connection) -> dict[str, int]:
    """The last position that was given in each partition."""
    return {row[0]: row[1] for row in await connection.fetch(_HEADS)}


async def lowest_applied(connection: asyncpg.Connection) -> dict[str, int]:
    """Up to where every registered consumer has applied each partition."""
    return {row[0]: row[1] for row in await connection.fetch(_LOWEST)}


async def consumers(connection: asyncpg.Connection) -> list[str]:
    """The registered consumers, by the names of their durables."""
    return [row[0] for row in await connection.fetch(_CONSUMERS)]


async def unconfirmed(connection: asyncpg.Connection, lease: Lease, limit: int) -> list[EncodedEvent]:
    """Events that have a position and no confirmation, at most so many a partition, the lowest first."""
    return events_of(await connection.fetch(_UNCONFIRMED, list(lease.epochs), limit))


async def after(connection: asyncpg.Connection, partition: str, position: int, limit: int) -> list[EncodedEvent]:
    """The events of a partition after this position, in order, at most so many."""
    return events_of(await connection.fetch(AFTER, partition, position, limit))


async def assign(connection: asyncpg.Connection, lease: Lease, aggregate: Aggregate, limit: int) -> list[EncodedEvent]:
    """Give the next outbox rows their positions; the events, in outbox order. LeaseLost if replaced."""
    if not await connection.fetchval(_ANYTHING, aggregate):
        return []
    async with connection.transaction():
        await _hold(connection, lease)
        return events_of(await connection.fetch(_ASSIGN, aggregate, limit))


async def confirm(connection: asyncpg.Connection, lease: Lease, stored: Mapping[str, int]) -> None:
    """Record that all events up to these positions are in the stream. LeaseLost if replaced."""
    async with connection.transaction():
        await connection.execute("set local synchronous_commit = off")
        status = await connection.execute(
            _CONFIRM, list(stored), [lease.epochs[partition] for partition in stored], list(stored.values())
        )
        if int(status.rpartition(" ")[2]) != len(stored):
            raise LeaseLost(f"another relay took over: expected to confirm {len(stored)} partitions, {status}")


async def know_stream(
    connection: asyncpg.Connection, lease: Lease, aggregate: Aggregate, created_at: str
) -> dict[str, int]:
    """Note when the stream was created. If it is not the one that the confirmed positions speak of, they go back
    to what every registered consumer has applied; those that did, with their new positions. LeaseLost if replaced."""
    if await connection.fetchval(_STREAM, aggregate) == created_at:
        return {}
    async with connection.transaction():
        await _hold(connection, lease)
        before = await connection.fetchval(_STREAM, aggregate)
        await connection.execute(_NOTE_STREAM, aggregate, created_at)
        if before is None or before == created_at:
            return {}
        return {row[0]: row[1] for row in await connection.fetch(_GO_BACK, list(lease.epochs))}


async def make_up(connection: asyncpg.Connection, lease: Lease, held: Mapping[str, int]) -> dict[str, int]:
    """Go back to the last positions that the stream holds, where more was confirmed and a registered consumer lacks
    some of that; those partitions that did, with their new positions. LeaseLost if replaced."""
    async with connection.transaction():
        await _hold(connection, lease)
        return {row[0]: row[1] for row in await connection.fetch(_MAKE_UP, list(held), list(held.values()))}


async def prune(connection: asyncpg.Connection, limit: int) -> int:
    """Delete events that are older than the retention and that every registered consumer has applied, at most so
    many; how many they were."""
    status = await connection.execute(_PRUNE, limit)
    return int(status.rpartition(" ")[2])


async def _hold(connection: asyncpg.Connection, lease: Lease) -> None:
    held = await connection.fetch(_HOLD, list(lease.epochs), list(lease.epochs.values()))
    if len(held) != len(lease.epochs):
        raise LeaseLost(f"another relay took over: {len(held)} of {len(lease.epochs)} partitions are held")


def events_of(rows: Sequence[Record]) -> list[EncodedEvent]:
    """The events in the rows of a statement that selects them, AFTER for one; with their batch if it selects it."""
    return [
        EncodedEvent(partition, position, id_, text.encode(), *batch) for partition, position, id_, text, *batch in rows
    ]

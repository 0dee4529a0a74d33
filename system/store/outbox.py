"""The relay's side of the outbox: the lease on partitions, positions without gaps, what is unconfirmed.

Whoever takes the lease raises the epoch of its partitions; a relay that finds another epoch than its own has
been replaced and changes nothing. A row that commits late is found by a later look and simply gets a later
position: rows of one aggregate commit in the order of their ids, and only that order has to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

import asyncpg
import msgspec

from system.domain.partitions import Aggregate
from system.store.connect import Record
from system.wire import Country, CountryEvent, Event, Project, ProjectEvent

_TAKE = "update relay_partition set epoch = epoch + 1 where partition = any($1) returning partition, epoch"
_ANYTHING = "select exists (select from outbox where position is null and aggregate = $1)"
_HOLD = """
select partition from relay_partition r join unnest($1::text[], $2::bigint[]) as l (partition, epoch)
using (partition, epoch) order by partition for update of r"""
# A statement of its own after _HOLD, so that it sees everything that an earlier holder did.
_ASSIGN = """
with batch as (
    select id, partition, row_number() over (partition by partition order by id) - 1 as nth
    from (select id, partition from outbox where position is null and aggregate = $1 order by id limit $2) o
), assigned as (
    update outbox o set position = r.next_position + b.nth
    from batch b join relay_partition r using (partition) where o.id = b.id returning o.*
), advanced as (
    update relay_partition r set next_position = r.next_position + n.assigned
    from (select partition, count(*) as assigned from batch group by partition) n
    where r.partition = n.partition
)
select * from assigned order by id"""
_UNCONFIRMED = """
select o.* from relay_partition r join outbox o using (partition)
where r.partition = any($1) and o.position > r.confirmed_position order by o.position limit $2"""
# A confirmation that a failover forgets only means that its events are published again.
_CONFIRM = """
update relay_partition r set confirmed_position = greatest(confirmed_position, c.position)
from unnest($1::text[], $2::bigint[], $3::bigint[]) as c (partition, epoch, position)
where r.partition = c.partition and r.epoch = c.epoch"""

_COUNTRY = msgspec.json.Decoder(Country)
_PROJECT = msgspec.json.Decoder(Project)


class LeaseLost(Exception):
    """Another relay holds the partitions now; nothing was changed."""


@dataclass(frozen=True)
class Lease:
    """The epoch of each partition, as this relay took it."""

    epochs: Mapping[str, int]


async def take_lease(connection: asyncpg.Connection, partitions: Sequence[str]) -> Lease:
    """Become the only relay of these partitions."""
    return Lease({row[0]: row[1] for row in await connection.fetch(_TAKE, list(partitions))})


async def unconfirmed(connection: asyncpg.Connection, lease: Lease, limit: int) -> list[Event]:
    """Events that have a position and no confirmation, the lowest positions first."""
    return [_event(row) for row in await connection.fetch(_UNCONFIRMED, list(lease.epochs), limit)]


async def assign(connection: asyncpg.Connection, lease: Lease, aggregate: Aggregate, limit: int) -> list[Event]:
    """Give the next outbox rows their positions; the events, in outbox order. LeaseLost if replaced."""
    if not await connection.fetchval(_ANYTHING, aggregate):
        return []
    async with connection.transaction():
        held = await connection.fetch(_HOLD, list(lease.epochs), list(lease.epochs.values()))
        if len(held) != len(lease.epochs):
            raise LeaseLost(f"another relay took over: {len(held)} of {len(lease.epochs)} partitions are held")
        return [_event(row) for row in await connection.fetch(_ASSIGN, aggregate, limit)]


async def confirm(connection: asyncpg.Connection, lease: Lease, stored: Mapping[str, int]) -> None:
    """Record that all events up to these positions are in the stream. LeaseLost if replaced."""
    async with connection.transaction():
        await connection.execute("set local synchronous_commit = off")
        status = await connection.execute(
            _CONFIRM, list(stored), [lease.epochs[partition] for partition in stored], list(stored.values())
        )
        if int(status.rpartition(" ")[2]) != len(stored):
            raise LeaseLost(f"another relay took over: expected to confirm {len(stored)} partitions, {status}")


def _event(row: Record) -> Event:
    common = {
        "id": str(row["event_id"]),
        "type": row["type"],
        "aggregate_id": row["aggregate_id"],
        "partition": row["partition"],
        "position": row["position"],
        "region": row["region"],
        "occurred_at": row["occurred_at"].astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    before, after = row["before"], row["after"]
    if row["aggregate"] == "countries":
        return CountryEvent(
            aggregate="countries", before=_COUNTRY.decode(before), after=_COUNTRY.decode(after), **common
        )
    return ProjectEvent(
        aggregate="projects",
        before=None if before is None else _PROJECT.decode(before),
        after=None if after is None else _PROJECT.decode(after),
        **common,
    )

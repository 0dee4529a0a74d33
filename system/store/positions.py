"""The progress of a consumer whose effects are in PostgreSQL: its position in each partition, the positions that it
skipped, and a trace of what it applied. All of that changes in the transaction of the effect.

A consumer whose effects are in Valkey reports its positions here; a report is at or behind the real position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from system.store.connect import Record

# Rows are locked in one order, so that two instances of a consumer wait for each other instead of deadlocking.
_STATES = """
select p.partition, p.position, array(select s.position from consumer_skipped s
    where s.consumer = p.consumer and s.partition = p.partition)
from consumer_position p where p.consumer = $1 and p.partition = any($2) order by p.partition for update of p"""
_POSITIONS = "select partition, position from consumer_position where consumer = $1"
_HEADS = """
select r.partition, r.next_position - 1, p.position from relay_partition r
left join consumer_position p on p.partition = r.partition and p.consumer = $1"""
_MOVE = """
with traced as (
    insert into consumer_applied (consumer, partition, first, last)
    select $1, * from unnest($5::text[], $6::bigint[], $7::bigint[])
)
update consumer_position p set position = m.after from unnest($2::text[], $3::bigint[], $4::bigint[])
    as m (partition, before, after)
where p.consumer = $1 and p.partition = m.partition and p.position = m.before"""
_SKIP = """
with moved as (
    update consumer_position set position = $3
    where consumer = $1 and partition = $2 and position = $3 - 1 returning 1
)
insert into consumer_skipped (consumer, partition, position, reason) select $1, $2, $3, $4 from moved"""
_MADE_UP = """
delete from consumer_skipped s using unnest($2::text[], $3::bigint[]) as m (partition, position)
where s.consumer = $1 and s.partition = m.partition and s.position = m.position"""
# Its last report; else just before the oldest event; else the end of the partition.
_ORIGINS = """
select partition, coalesce(
    (select p.position from consumer_position p where p.consumer = $1 and p.partition = wanted.partition),
    (select min(o.position) - 1 from outbox_position o where o.partition = wanted.partition),
    (select r.next_position - 1 from relay_partition r where r.partition = wanted.partition))
from unnest($2::text[]) as wanted (partition)"""
# If a failover loses a report, it is made again. So it waits for no disk.
_REPORT = f"""
with reported as (
    insert into consumer_position (consumer, partition, position, reported_at)
    select $1, *, transaction_timestamp() from unnest($2::text[], $3::bigint[])
    where (select set_config('synchronous_commit', 'off', true)) = 'off'
    on conflict (consumer, partition) do update set position = excluded.position, reported_at = excluded.reported_at
)
{_HEADS}"""


class PositionMoved(Exception):
    """Another instance of the consumer moved a position meanwhile. Nothing was done; read the positions again."""


class State(NamedTuple):
    """A consumer's progress in a partition: all up to `position` is applied, except the `skipped` positions."""

    position: int
    skipped: frozenset[int] = frozenset()


async def states(connection: asyncpg.Connection, consumer: str, partitions: Sequence[str]) -> dict[str, State]:
    """Partition -> state, locked until the transaction ends."""
    rows = await connection.fetch(_STATES, consumer, list(partitions))
    return {partition: State(position, frozenset(skipped)) for partition, position, skipped in rows}


async def positions(connection: asyncpg.Connection, consumer: str) -> dict[str, int]:
    """Partition -> the consumer's position."""
    return {row[0]: row[1] for row in await connection.fetch(_POSITIONS, consumer)}


async def heads(connection: asyncpg.Connection, consumer: str) -> dict[str, tuple[int, int]]:
    """Partition -> the last position that the relay has assigned, and the consumer's position, 0 for none."""
    return _heads(await connection.fetch(_HEADS, consumer))


async def move(
    connection: asyncpg.Connection,
    consumer: str,
    moves: Sequence[tuple[str, int, int]],
    applied: Sequence[tuple[str, int, int]],
) -> None:
    """Compare and set positions, each (partition, before, after), and add the `applied` ranges, each (partition, first,
    last), to the trace. PositionMoved if a position is not `before`."""
    status = await connection.execute(_MOVE, consumer, *columns(moves, 3), *columns(applied, 3))
    _expect(status, len(moves), f"{consumer}: expected to move {len(moves)} positions")


async def skip(connection: asyncpg.Connection, consumer: str, partition: str, position: int, reason: str) -> None:
    """Move past the next position without its effect, and remember that it was skipped, with the reason. Does nothing
    if `position` is not the next one."""
    await connection.execute(_SKIP, consumer, partition, position, reason)


async def made_up(connection: asyncpg.Connection, consumer: str, positions: Sequence[tuple[str, int]]) -> None:
    """Remove these, each (partition, position), from the skipped positions, since they are applied now. PositionMoved
    if one of them was removed already."""
    status = await connection.execute(_MADE_UP, consumer, *columns(positions, 2))
    _expect(status, len(positions), f"{consumer}: expected to make up for {len(positions)} skipped positions")


async def origins(connection: asyncpg.Connection, consumer: str, partitions: Sequence[str]) -> dict[str, int]:
    """Partition -> the position after which a consumer continues whose Valkey has lost positions and effects: its last
    report, or just before the oldest event if it never reported."""
    return {row[0]: row[1] for row in await connection.fetch(_ORIGINS, consumer, list(partitions))}


async def report(
    connection: asyncpg.Connection, consumer: str, positions: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Store the positions of a consumer whose effects are in Valkey. Returns what `heads` does, as it was before."""
    return _heads(await connection.fetch(_REPORT, consumer, *columns(sorted(positions.items()), 2)))


def _heads(rows: Sequence[Record]) -> dict[str, tuple[int, int]]:
    return {partition: (head, position or 0) for partition, head, position in rows}


def columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Rows of `count` values each, transposed into `count` columns for `unnest`."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(count)]


def _expect(status: str, count: int, expected: str) -> None:
    if int(status.rpartition(" ")[2]) != count:
        raise PositionMoved(f"{expected}, found {status}")

"""The progress of a consumer whose effects are in PostgreSQL: its position in each partition, the positions that it
skipped, and a trace of what it applied. All of that changes in the transaction of the effect.

A consumer whose effects are in Valkey reports its positions here; a report is at or behind the real position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

# Rows are locked in one order, so that two instances of a consumer wait for each other instead of deadlocking.
_STATES = """
select p.partition, p.position, array(select s.position from consumer_skipped s
    where s.consumer = p.consumer and s.partition = p.partition)
from consumer_position p where p.consumer = $1 and p.partition = any($2) order by p.partition for update of p"""
_POSITIONS = "select partition, position from consumer_position where consumer = $1"
_HEADS = "select partition, next_position - 1 from relay_partition"
_MOVE = """
update consumer_position p set position = m.after from unnest($2::text[], $3::bigint[], $4::bigint[])
    as m (partition, before, after)
where p.consumer = $1 and p.partition = m.partition and p.position = m.before"""
_TRACE = """
insert into consumer_applied (consumer, partition, first, last)
select $1, * from unnest($2::text[], $3::bigint[], $4::bigint[])"""
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
_REPORT = """
insert into consumer_position (consumer, partition, position, reported_at)
select $1, *, transaction_timestamp() from unnest($2::text[], $3::bigint[])
on conflict (consumer, partition) do update set position = excluded.position, reported_at = excluded.reported_at"""


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


async def heads(connection: asyncpg.Connection) -> dict[str, int]:
    """Partition -> the last position that the relay has assigned."""
    return {row[0]: row[1] for row in await connection.fetch(_HEADS)}


async def move(
    connection: asyncpg.Connection,
    consumer: str,
    moves: Sequence[tuple[str, int, int]],
    applied: Sequence[tuple[str, int, int]],
) -> None:
    """Compare and set positions, each (partition, before, after), and add the `applied` ranges, each (partition, first,
    last), to the trace. PositionMoved if a position is not `before`."""
    status = await connection.execute(_MOVE, consumer, *columns(moves, 3))
    _expect(status, len(moves), f"{consumer}: expected to move {len(moves)} positions")
    await connection.execute(_TRACE, consumer, *columns(applied, 3))


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


async def report(connection: asyncpg.Connection, consumer: str, positions: Mapping[str, int]) -> None:
    """Store the positions of a consumer whose effects are in Valkey."""
    await connection.execute(_REPORT, consumer, *columns(sorted(positions.items()), 2))


def columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Rows of `count` values each, transposed into `count` columns for `unnest`."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(count)]


def _expect(status: str, count: int, expected: str) -> None:
    if int(status.rpartition(" ")[2]) != count:
        raise PositionMoved(f"{expected}, found {status}")

"""What analytics keeps: roll-ups, its position in each partition, and the trace of what it applied.

Reading takes one statement, so that totals and positions are of one instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from system.domain.totals import Deltas, Sum, region_totals
from system.store.connect import Record
from system.wire import Region, RegionTotals, Sector, Status

TOTALS = """
select
    (select coalesce(json_agg(json_build_array(region, sector, status, projects, funding_usd_millions)), '[]')
        from rollup)::text,
    (select coalesce(json_agg(json_build_array(region, countries, contribution_usd_millions)), '[]')
        from country_rollup)::text,
    (select coalesce(json_object_agg(partition, position), '{}')
        from consumer_position where consumer = 'analytics')::text
"""
_PROJECTS = msgspec.json.Decoder(list[tuple[Region, Sector, Status, int, Decimal]])
_COUNTRIES = msgspec.json.Decoder(list[tuple[Region, int, Decimal]])
_AS_OF = msgspec.json.Decoder(dict[str, int])

_POSITIONS = """
select partition, position from consumer_position where consumer = $1 and partition = any($2)
order by partition for update"""
_MOVE = """
update consumer_position p set position = m.after from unnest($2::text[], $3::bigint[], $4::bigint[])
    as m (partition, before, after)
where p.consumer = $1 and p.partition = m.partition and p.position = m.before"""
_TRACE = """
insert into consumer_applied (consumer, partition, first, last)
select $1, * from unnest($2::text[], $3::bigint[], $4::bigint[])"""
_ADD_PROJECTS = """
insert into rollup select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::numeric[])
on conflict (region, sector, status) do update set projects = rollup.projects + excluded.projects,
    funding_usd_millions = rollup.funding_usd_millions + excluded.funding_usd_millions"""
_ADD_COUNTRIES = """
insert into country_rollup select * from unnest($1::text[], $2::bigint[], $3::numeric[])
on conflict (region) do update set countries = country_rollup.countries + excluded.countries,
    contribution_usd_millions =
        country_rollup.contribution_usd_millions + excluded.contribution_usd_millions"""


class PositionMoved(Exception):
    """Another instance moved a position meanwhile: nothing was done; read the positions again."""


def totals(row: Record) -> list[RegionTotals]:
    """The totals of all regions out of the row of TOTALS."""
    projects = {cell[:3]: Sum(*cell[3:]) for cell in _PROJECTS.decode(row[0])}
    countries = {region: Sum(count, amount) for region, count, amount in _COUNTRIES.decode(row[1])}
    return region_totals(projects, countries, _AS_OF.decode(row[2]))


async def positions(connection: asyncpg.Connection, consumer: str, partitions: Sequence[str]) -> dict[str, int]:
    """The positions of these partitions, locked until the transaction ends."""
    return {row[0]: row[1] for row in await connection.fetch(_POSITIONS, consumer, list(partitions))}


async def move(
    connection: asyncpg.Connection,
    consumer: str,
    moves: Sequence[tuple[str, int, int]],
    applied: Sequence[tuple[str, int, int]],
) -> None:
    """Compare and set the positions, (partition, before, after) each, and write the ranges that are being
    applied, (partition, first, last) each, into the trace. PositionMoved if any is not what it was."""
    status = await connection.execute(_MOVE, consumer, *_columns(moves))
    if int(status.rpartition(" ")[2]) != len(moves):
        raise PositionMoved(f"{consumer}: expected to move {len(moves)} positions, found {status}")
    await connection.execute(_TRACE, consumer, *_columns(applied))


async def add(connection: asyncpg.Connection, deltas: Deltas) -> None:
    """Add to the roll-ups."""
    if deltas.projects:
        cells = [(*cell, total.count, total.usd_millions) for cell, total in sorted(deltas.projects.items())]
        await connection.execute(_ADD_PROJECTS, *_columns(cells))
    if deltas.countries:
        regions = [(name, total.count, total.usd_millions) for name, total in sorted(deltas.countries.items())]
        await connection.execute(_ADD_COUNTRIES, *_columns(regions))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]

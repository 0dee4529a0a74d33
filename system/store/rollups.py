"""The roll-up tables, which analytics maintains and the API reads.

One statement reads all of it, so that totals and positions are from one snapshot.
"""

from __future__ import annotations

from decimal import Decimal

import asyncpg
import msgspec

from system.domain.totals import Deltas, Sum, region_totals
from system.store.connect import Record
from system.store.positions import columns
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

_ADD_PROJECTS = """
insert into rollup select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::numeric[])
on conflict (region, sector, status) do update set projects = rollup.projects + excluded.projects,
    funding_usd_millions = rollup.funding_usd_millions + excluded.funding_usd_millions"""
_ADD_COUNTRIES = """
insert into country_rollup select * from unnest($1::text[], $2::bigint[], $3::numeric[])
on conflict (region) do update set countries = country_rollup.countries + excluded.countries,
    contribution_usd_millions =
        country_rollup.contribution_usd_millions + excluded.contribution_usd_millions"""


def totals(row: Record) -> list[RegionTotals]:
    """The totals of all regions, from the row that TOTALS returns."""
    projects = {cell[:3]: Sum(*cell[3:]) for cell in _PROJECTS.decode(row[0])}
    countries = {region: Sum(count, amount) for region, count, amount in _COUNTRIES.decode(row[1])}
    return region_totals(projects, countries, _AS_OF.decode(row[2]))


async def add(connection: asyncpg.Connection, deltas: Deltas) -> None:
    """Add deltas to the roll-ups, within the caller's transaction."""
    if deltas.projects:
        cells = [(*cell, total.count, total.usd_millions) for cell, total in sorted(deltas.projects.items())]
        await connection.execute(_ADD_PROJECTS, *columns(cells, 5))
    if deltas.countries:
        regions = [(name, total.count, total.usd_millions) for name, total in sorted(deltas.countries.items())]
        await connection.execute(_ADD_COUNTRIES, *columns(regions, 3))

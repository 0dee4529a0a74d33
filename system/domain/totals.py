"""Roll-ups: the deltas that events add to them, and the totals of regions that are computed from them.

An event's delta depends on its own `before` and `after` only, and deltas can be summed in any order and grouping. So a
batch of events becomes one change a cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from system.domain.geography import PLACES, SECTORS, STATUSES
from system.wire import Country, CountryEvent, Event, Project, ProjectEvent, Region, RegionTotals, Sector, Status

Cell = tuple[Region, Sector, Status]
"""The key of a roll-up of projects."""


@dataclass
class Sum:
    """A count of projects or countries and their sum in millions of USD. Both may be negative in a delta."""

    count: int = 0
    usd_millions: Decimal = Decimal(0)

    def add(self, sign: int, usd_millions: Decimal) -> None:
        self.count += sign
        self.usd_millions += sign * usd_millions


@dataclass
class Deltas:
    """The changes of the roll-ups by a batch of events."""

    projects: dict[Cell, Sum]
    countries: dict[Region, Sum]


def deltas_of(events: Iterable[Event]) -> Deltas:
    """The sum of the deltas of events; without cells whose delta is zero. TypeError for events of other aggregates."""
    deltas = Deltas({}, {})
    for event in events:
        if isinstance(event, ProjectEvent):
            _add_project(deltas, event.before, -1)
            _add_project(deltas, event.after, 1)
        elif isinstance(event, CountryEvent):
            _add_country(deltas, event.before, -1)
            _add_country(deltas, event.after, 1)
        else:
            raise TypeError(f"expected an event of projects or countries, found {type(event).__name__}")
    even = Sum()
    return Deltas(
        {cell: total for cell, total in deltas.projects.items() if total != even},
        {region: total for region, total in deltas.countries.items() if total != even},
    )


def _add_project(deltas: Deltas, project: Project | None, sign: int) -> None:
    if project is not None:
        cell = (project.region, project.sector, project.status)
        deltas.projects.setdefault(cell, Sum()).add(sign, project.funding_usd_millions)


def _add_country(deltas: Deltas, country: Country, sign: int) -> None:
    deltas.countries.setdefault(country.region, Sum()).add(sign, country.contribution_usd_millions)


def region_totals(
    projects: Mapping[Cell, Sum], countries: Mapping[Region, Sum], as_of: Mapping[str, int]
) -> list[RegionTotals]:
    """The totals of all six regions, in the order of PLACES."""
    return [_totals_of(region, projects, countries.get(region, Sum()), as_of) for region in PLACES]


def _totals_of(region: Region, projects: Mapping[Cell, Sum], countries: Sum, as_of: Mapping[str, int]) -> RegionTotals:
    by_sector = dict.fromkeys(SECTORS, 0)
    by_status = dict.fromkeys(STATUSES, 0)
    total = Sum()
    for (of_region, sector, status), cell in projects.items():
        if of_region == region:
            by_sector[sector] += cell.count
            by_status[status] += cell.count
            total.count += cell.count
            total.usd_millions += cell.usd_millions
    place = PLACES[region]
    return RegionTotals(
        id=region,
        city=place.city,
        aws_region=place.aws_region,
        countries=countries.count,
        contribution_usd_millions=countries.usd_millions,
        projects=total.count,
        funding_usd_millions=total.usd_millions,
        by_sector={str(sector): count for sector, count in by_sector.items()},
        by_status={str(status): count for status, count in by_status.items()},
        as_of=dict(as_of),
    )

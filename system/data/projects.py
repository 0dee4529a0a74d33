"""The generator of projects: the same 300 on every machine, 50 a region; for tests of scale more, up to the seed's
58,500 (195 countries x 50 projects x 6 regions).

The seed gives the number of projects, their sectors and statuses, but no list, so these are invented. Numbers come
from the SHA-256 of a label, since `random` may give other numbers in another version of Python.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import TypeVar
from uuid import UUID, uuid5

from system.domain.geography import PLACES, SECTORS
from system.wire import Country, Project, Region, Sector, Status

PER_REGION = 50

_NAMESPACE = UUID("5f0c9a51-6d0a-5b0e-9c27-3d6f6c0ce9a1")
_STATUS_OF_TEN: tuple[Status, ...] = ("Active",) * 6 + ("Pending",) * 3 + ("Completed",)
_KINDS: dict[Sector, tuple[str, ...]] = {
    "Agriculture": ("Irrigation", "Seed Bank", "Soil Recovery", "Cold Chain"),
    "Minerals": ("Ore Traceability", "Mine Rehabilitation", "Recycling Works", "Assay Laboratory"),
    "Energy": ("Solar Park", "Wind Farm", "Grid Storage", "Micro-Hydro"),
    "Technology": ("Fibre Backbone", "Data Commons", "Digital Registry", "Skills Hub"),
    "Health": ("District Hospital", "Vaccine Depot", "Clean Water", "Mobile Clinics"),
    "Education": ("Teacher College", "School Meals", "Open Library", "Rural Schools"),
}
_T = TypeVar("_T")


def projects(countries: Sequence[Country], seed: int = 1, *, count: int = PER_REGION * len(PLACES)) -> list[Project]:
    """`count` projects: first 50 a region, each in a country of its region; then more, until every country has 50 in
    every region (`most`). Sectors are even; six in ten are Active, three Pending, one Completed; funding is 0.50 to
    250.00 million USD, small amounts more often. ValueError for a count below 300 or above `most`."""
    fewest = PER_REGION * len(PLACES)
    if not fewest <= count <= most(countries):
        raise ValueError(f"expected {fewest} to {most(countries):,} projects, found {count:,}")
    at_home = {region: [country for country in countries if country.region == region] for region in PLACES}
    first = [
        _project(label, region, number, _pick(f"{label}/country", at_home[region]))
        for region in PLACES
        for number in range(PER_REGION)
        for label in [f"{seed}/{region}/{number}"]
    ]
    return first + [
        _project(f"{seed}/{region}/{country.id}/{number}", region, number, country)
        for (region, country, number), _ in zip(_further(countries, first), range(count - fewest), strict=False)
    ]


def most(countries: Sequence[Country]) -> int:
    """The largest count: 50 projects in every region for every country."""
    return len(countries) * PER_REGION * len(PLACES)


def _further(countries: Sequence[Country], first: Sequence[Project]) -> Iterator[tuple[Region, Country, int]]:
    """(region, country, number) of further projects: in each round one for every region and country that has fewer."""
    have = Counter((project.region, project.country_code) for project in first)
    for number in range(PER_REGION):
        for region in PLACES:
            for country in countries:
                if number >= have[region, country.id]:
                    yield region, country, number


def _project(label: str, region: Region, number: int, country: Country) -> Project:
    sector = SECTORS[number % len(SECTORS)]
    # The square of a uniform distribution: most amounts are small, a few large.
    share = _number(f"{label}/funding", 1_000_000)
    cents = 50 + 24_950 * share * share // 1_000_000**2
    return Project(
        id=str(uuid5(_NAMESPACE, label)),
        name=f"{country.name} {_pick(f'{label}/kind', _KINDS[sector])} {number + 1}",
        region=region,
        country_code=country.id,
        sector=sector,
        status=_STATUS_OF_TEN[(number // len(SECTORS) + number) % len(_STATUS_OF_TEN)],
        funding_usd_millions=Decimal(cents).scaleb(-2),
        version=1,
    )


def _number(label: str, below: int) -> int:
    """A number from 0 to `below` - 1 that depends on the label only."""
    return int.from_bytes(sha256(label.encode()).digest()[:8], "big") % below


def _pick(label: str, choices: Sequence[_T]) -> _T:
    return choices[_number(label, len(choices))]

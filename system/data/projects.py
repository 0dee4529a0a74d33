"""The projects, generated: the same 300 on every machine, 50 a region.

The seed gives the count, the sectors and the statuses and no list of projects, so these are invented and say
so in no other way than by being here. A generator of our own arithmetic (SHA-256 of a label), because
`random` does not promise the same numbers in every version of Python.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def projects(countries: Sequence[Country], seed: int = 1) -> list[Project]:
    """50 projects a region, each in a country of its region; sectors evenly, six in ten Active, three
    Pending, one Completed, funding from 0.50 to 250.00 million USD with small ones more frequent."""
    return [
        _project(region, number, [country for country in countries if country.region == region], seed)
        for region in PLACES
        for number in range(PER_REGION)
    ]


def _project(region: Region, number: int, countries: Sequence[Country], seed: int) -> Project:
    label = f"{seed}/{region}/{number}"
    sector = SECTORS[number % len(SECTORS)]
    country = _pick(f"{label}/country", countries)
    # The square of an even spread, so that most are small and a few are large.
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
    """A number from 0 to `below` - 1 that depends on the label alone."""
    return int.from_bytes(sha256(label.encode()).digest()[:8], "big") % below


def _pick(label: str, choices: Sequence[_T]) -> _T:
    return choices[_number(label, len(choices))]

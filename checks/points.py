"""The evidence for the row data.points: a database at the seed's full scale, counted and reconciled.

The running system starts with the seed's 300 projects. So the 58,500 get a database of their own in the same cluster,
made as `./covenant up --scale 58500` makes the system's.
"""

from __future__ import annotations

import psycopg

from checks import NotChecked
from infra.fabric.protocol import Fabric, StartError
from infra.operations.scratch import scratch_database
from infra.parts import postgres
from ledger.observe.rollups import HOW, UNEQUAL_GROUPS
from reports.evidence import Count, RunFolder
from system.wire import observer

ROW = "data.points"
EXPECTED = {ROW: 5}
"""How many facts `record` adds."""
COUNTRIES, PROJECTS_EACH, REGIONS = 195, 50, 6
"""Every country has so many projects in every region."""
POINTS = COUNTRIES * PROJECTS_EACH * REGIONS
_DATABASE = "covenant_points"
_ANSWER_WITHIN_MS = 30_000

_COUNT = f"select count(*) from {observer.PROJECTS}"
_UNEVEN = f"""
select count(*) from (
    select region from {observer.PROJECTS} group by region having count(*) <> {COUNTRIES * PROJECTS_EACH}
) uneven"""
_REGIONS = f"select count(distinct region) from {observer.PROJECTS}"
_COUNTRIES = f"select count(*) from {observer.COUNTRIES}"


def record(system: Fabric, folder: RunFolder, points: int = POINTS) -> None:
    """Make the database, count it, write Counts, and drop it. NotChecked if it could not be made or read."""
    try:
        with scratch_database(system, _DATABASE, points):
            found = _facts(system)
    except (psycopg.Error, StartError) as error:
        raise NotChecked(f"the {points:,} data points could not be made and counted: {error}") from error
    with folder.facts() as facts:
        facts.add(*found)


def _facts(system: Fabric) -> list[Count]:
    url = postgres.dsn(system.place, "covenant_observer", system.site.secrets["observer"], database=_DATABASE)
    with psycopg.connect(url, options=f"-c statement_timeout={_ANSWER_WITHIN_MS}") as link:
        numbers = []
        for query in (_COUNT, _UNEVEN, _REGIONS, _COUNTRIES, UNEQUAL_GROUPS):
            row = link.execute(query).fetchone()
            numbers.append(int(row[0]) if row else -1)
    points, uneven, regions, countries, unequal = numbers
    each = COUNTRIES * PROJECTS_EACH
    return [
        Count(row=ROW, value=float(points), unit="points", how=f"{_COUNT}, in a database of their own"),
        _holds(uneven, "regions", f"regions that have other than {COUNTRIES} x {PROJECTS_EACH} = {each:,} projects", 0),
        _holds(regions, "regions", f"regions with projects, expected {REGIONS}", REGIONS),
        _holds(countries, "countries", f"countries, expected {COUNTRIES}", COUNTRIES),
        _holds(unequal, "groups", HOW, 0),
    ]


def _holds(found: int, unit: str, how: str, expected: int) -> Count:
    return Count(row=ROW, value=float(found), unit=unit, how=how, ok=found == expected)

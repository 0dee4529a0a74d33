"""The evidence for the data rows: the database's content, counted by SQL as the observer."""

from __future__ import annotations

from decimal import Decimal
from typing import LiteralString

import psycopg

from infra.target import Target
from ledger.observe.rollups import HOW, UNEQUAL_GROUPS
from reports.evidence import Count, RunFolder
from system.wire import observer

EXPECTED = {"data.countries": 2, "data.projects": 2}
"""Row -> how many facts `record` adds."""
_ANSWER_WITHIN_MS = 10_000

_COUNTRIES = f"SELECT count(*) FROM {observer.COUNTRIES}"
_PROJECTS = f"SELECT count(*) FROM {observer.PROJECTS}"
# A contribution is 0.001% of GDP: 0.01 million for each billion, rounded to 0.01 million.
_CONTRIBUTION_OFF = (
    f"SELECT count(*) FROM {observer.COUNTRIES} WHERE contribution_usd_millions <> round(gdp_usd_billions * 0.01, 2)"
)


def record(target: Target, folder: RunFolder) -> None:
    """Count countries and projects, check their totals, and write a Count for each.

    The system must not be written to meanwhile. psycopg.Error if the database does not answer.
    """
    with psycopg.connect(target.observer_dsn, options=f"-c statement_timeout={_ANSWER_WITHIN_MS}") as link:

        def number(query: LiteralString) -> Decimal:
            row = link.execute(query).fetchone()
            return Decimal(row[0]) if row else Decimal("NaN")

        countries = number(_COUNTRIES)
        projects = number(_PROJECTS)
        wrong = number(_CONTRIBUTION_OFF)
        apart = number(UNEQUAL_GROUPS)
    with folder.facts() as facts:
        facts.add(
            Count(row="data.countries", value=float(countries), unit="countries", how=_COUNTRIES),
            Count(
                row="data.countries",
                value=float(wrong),
                unit="countries",
                how="contribution differs from 0.001% of GDP, to the cent",
                ok=wrong == 0,
            ),
            Count(row="data.projects", value=float(projects), unit="projects", how=_PROJECTS),
            Count(
                row="data.projects",
                value=float(apart),
                unit="groups",
                how=HOW,
                ok=apart == 0,
            ),
        )

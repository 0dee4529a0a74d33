"""The countries, read from countries.csv; README.md gives the sources of its figures."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import msgspec

from system.domain.money import contribution_usd_millions
from system.wire import Country

_FILE = Path(__file__).with_name("countries.csv")


def countries() -> list[Country]:
    """All 195 countries by id, each with its contribution. ValueError or ArithmeticError for a malformed row."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return [_country(row) for row in csv.DictReader(file)]


def _country(row: dict[str, str]) -> Country:
    contribution = contribution_usd_millions(Decimal(row["gdp_usd_billions"]))
    return msgspec.convert({**row, "contribution_usd_millions": contribution, "version": 1}, Country, strict=False)

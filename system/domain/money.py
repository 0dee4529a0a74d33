"""Amounts of money: millions of USD with two digits, never binary floating point."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
"""The smallest amount: a hundredth of a million USD."""
LARGEST_USD_MILLIONS = Decimal("999999999.99")
LARGEST_GDP_USD_BILLIONS = Decimal("9999999.999")


def contribution_usd_millions(gdp_usd_billions: Decimal) -> Decimal:
    """What a country pledges: 0.001% of its GDP, which is GDP in billions times 0.01, in millions, rounded
    half up, as PostgreSQL's round() does."""
    return (gdp_usd_billions * CENT).quantize(CENT, rounding=ROUND_HALF_UP)


def has_at_most_digits(amount: Decimal, digits: int) -> bool:
    """Whether a finite amount needs no more than `digits` after the point."""
    exponent = amount.normalize().as_tuple().exponent
    return isinstance(exponent, int) and -exponent <= digits

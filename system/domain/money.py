"""Amounts of money: decimal millions of USD with two digits after the point, never binary floating point."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
"""The smallest amount: a hundredth of a million USD."""
LARGEST_USD_MILLIONS = Decimal("999999999.99")
LARGEST_GDP_USD_BILLIONS = Decimal("9999999.999")


def contribution_usd_millions(gdp_usd_billions: Decimal) -> Decimal:
    """A country's pledge in millions of USD: 0.001% of its GDP, that is GDP in billions times 0.01, rounded half up
    like PostgreSQL's round()."""
    return (gdp_usd_billions * CENT).quantize(CENT, rounding=ROUND_HALF_UP)


def has_at_most_digits(amount: Decimal, digits: int) -> bool:
    """Whether a finite amount has at most `digits` digits after the point, trailing zeros apart."""
    exponent = amount.normalize().as_tuple().exponent
    return isinstance(exponent, int) and -exponent <= digits

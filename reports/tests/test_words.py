"""How numbers are said: short, and never rounded onto the bound that they are compared with."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import words
from reports.model import Bound, Claim, Row


@pytest.mark.parametrize(
    ("value", "beside", "text"),
    [
        (None, None, "–"),
        (math.inf, None, "∞"),
        (0.0, None, "0"),
        (195.0, None, "195"),
        (60000.0, None, "60,000"),
        (112.063, 100.0, "112"),
        (99.97, 100.0, "99.97"),
        (100.02, 100.0, "100.02"),
        (2.5534, None, "2.55"),
        (0.00004, None, "0.00004"),
        (99.9967, 99.99, "99.997"),
        (99.99996, None, "99.99996"),
        (1234.56, None, "1,235"),
    ],
)
def test_a_number_is_said(value: float | None, beside: float | None, text: str) -> None:
    assert words.number(value, beside) == text


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6))
def test_a_number_that_is_not_the_bound_is_not_printed_as_it(value: float, beside: float) -> None:
    if value != beside:
        assert float(words.number(value, beside).replace(",", "")) != beside


def test_units() -> None:
    assert words.amount(99.99, "%") == "99.99%"
    assert words.amount(12.0, "ms") == "12 ms"
    assert words.amount(0.99, "ratio") == "0.99"
    assert words.amount(None, "ms") == "–"
    assert words.bound(Bound(op="<", value=100, unit="ms")) == "< 100 ms"
    assert words.bound(Bound(op="==", value=195, unit="countries")) == "= 195"
    assert words.bound(None) == "–"


def row(op: str, gate: float, measured: float | None, unit: str = "ms", verdict: str = "PASS") -> Row:
    return Row(
        id=f"row.{measured}",
        claim=Claim(text="", op=None, value=None, unit=None, verdict="NOT_JUDGED"),
        gate=Bound(op=op, value=gate, unit=unit),  # type: ignore[arg-type]
        measured=measured,
        unit=unit,
        interval=None,
        samples=1,
        floor=None,
        ceiling=None,
        baseline=None,
        verdict=verdict,  # type: ignore[arg-type]
        why="",
        durability="",
        evidence=[],
    )


@pytest.mark.parametrize(
    ("case", "left"),
    [
        (row("<", 100, 60), 0.4),
        (row("<", 100, 120), -0.2),
        (row(">=", 99.99, 99.995, "%"), 0.5),
        (row(">=", 99.99, 99.98, "%"), -1.0),
        (row(">=", 2000, 2500, "msg/s"), 0.25),
        (row("==", 195, 195, "countries"), None),
        (row("==", 195, 177, "countries"), -math.inf),
        (row("<=", 0, 0, "lost"), None),
        (row("<=", 0, 3, "lost"), -math.inf),
        (row(">=", 100, 100, "%"), None),
        (row(">=", 100, 50, "%"), -math.inf),
        (row("<", 100, None), None),
    ],
)
def test_the_margin_is_the_share_of_the_target_that_is_left(case: Row, left: float | None) -> None:
    assert words.margin(case) == (None if left is None else pytest.approx(left))


def test_rows_come_worst_first() -> None:
    rows = [
        row("<", 100, 10),
        row("<", 100, 90),
        row("<", 100, None, verdict="INCONCLUSIVE"),
        row("<", 100, 130, verdict="FAIL"),
        row("<=", 0, 2, verdict="FAIL"),
        row("<", 100, 140, verdict="INVALID"),
    ]
    assert [entry.measured for entry in words.worst_first(rows)] == [2, 130, 140, None, 90, 10]


def test_long_text_is_cut_at_a_word() -> None:
    assert words.shortened("one two, three", 9) == "one two …"
    assert words.shortened("one", 9) == "one"

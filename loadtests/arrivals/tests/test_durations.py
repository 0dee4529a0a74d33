"""Lengths of time as a user writes them."""

from __future__ import annotations

import pytest

from loadtests.arrivals.durations import EXPECTED, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0), ("0", 0.0), ("0.5", 0.5), ("60s", 60.0), ("2m", 120.0), ("1h30m", 5400.0), ("1.5h", 5400.0),
        ("1d", 86_400.0), ("500ms", 0.5), ("1m500ms", 60.5), ("2h0m5s", 7205.0),
    ],
)  # fmt: skip
def test_a_length_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "-2m", "nan", "inf", "1 m", "30m1h", "1m1m", "5x", "1h30", "1,5m", "s60", "1mm", "1e400s"]
)
def test_what_is_no_length_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected seconds, or a length with units") as caught:
        parse_duration(text)
    assert str(caught.value) == f"expected {EXPECTED}; found {text!r}"

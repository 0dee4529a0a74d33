"""How a user says how long something lasts: `90` (seconds), `60s`, `2m`, `1h30m`. Pure.

The units are those of k6, Locust and Prometheus, so that what people bring along is read as they meant it.
"""

from __future__ import annotations

import math
import re

EXPECTED = "seconds, or a length with units (d, h, m, s, ms), as in 90, 60s, 2m or 1h30m"
_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"\d+(?:\.\d+)?"
# Each unit at most once, the larger one first: what is in another order is more likely a slip than a wish.
_WITH_UNITS = re.compile("".join(rf"(?:({_NUMBER}){unit}(?![a-z]))?" for unit in _UNITS_S))


def parse_duration(text: str) -> float:
    """Seconds. ValueError says in one line what was expected and what was found."""
    if (found := _WITH_UNITS.fullmatch(text)) and any(found.groups()):
        parts = zip(found.groups(), _UNITS_S.values(), strict=True)
        return sum(float(number) * unit_s for number, unit_s in parts if number)
    if (seconds := parse_number(text)) is None:
        raise ValueError(f"expected {EXPECTED}; found {text!r}")
    return seconds


def parse_number(text: str) -> float | None:
    """A finite number from 0 on; None if it is no such number."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None

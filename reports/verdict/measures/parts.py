"""What a row's verdict rests on: a measurement, made of parts that stand or fall by themselves.

A part (a load, a repeat of an experiment, a ledger) may lack evidence, may be not to be believed, or may have
missed its gate; the row is as bad as its worst part. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reports.findings.findings import Findings, Window
from reports.model import Bound
from reports.policy.claims import RowClaim


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a row's verdict rests on.

    `missed` says why the part misses its gate whatever its value; `certain` that a miss is proof even where the
    harness is not to be believed otherwise (a lost write); `timed` that a disturbed machine excuses a miss.
    """

    name: str = ""
    value: float | None
    samples: int = 0
    says: str = ""
    missing: str | None = None
    invalid: str | None = None
    missed: str | None = None
    certain: bool = False
    timed: bool = False
    window: Window | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A row's figures. `claim_value` is what the claim is judged on where that is not `value`."""

    value: float | None = None
    claim_value: float | None = None
    interval: tuple[float, float] | None = None
    samples: int = 0
    says: str = ""
    parts: list[Part]
    settings: list[str] = []
    """Durability and security of the loads, where they say other than the run."""
    evidence: list[str] = []
    unasked: str | None = None
    """Why the loads, as they were asked for, say nothing of the row (a rate far below the claim)."""
    asked: float | None = None
    """What was asked for at most, where no more can come of it: a claim of more was not put to the test."""


Measure = Callable[[Findings, RowClaim, Bound], Measurement]
"""From a run's findings to the measurement of one row, given its claim and its gate."""


def nothing(why: str) -> Measurement:
    """Nothing was measured, and why."""
    return Measurement(parts=[Part(value=None, missing=why)])

"""What a row's verdict rests on: a measurement, made of parts that stand or fall by themselves.

A part (a load, a repeat of an experiment, a ledger) may lack evidence, may be invalid, or may have missed its gate; the
row is as bad as its worst part. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reports.findings.findings import Findings, Window
from reports.model import Bound
from reports.policy.claims import RowClaim


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a row's verdict rests on."""

    name: str = ""
    value: float | None
    samples: int = 0
    says: str = ""
    """What was measured, in words."""
    missing: str | None = None
    """Why there is nothing to judge: then the part is INCONCLUSIVE."""
    invalid: str | None = None
    """Why the harness cannot be trusted here: then the part is INVALID."""
    missed: str | None = None
    """Why the gate is missed, whatever `value` is."""
    certain: bool = False
    """Whether a miss is proof even if the harness cannot be trusted (a lost write)."""
    timed: bool = False
    """Whether a disturbed machine excuses a miss."""
    window: Window | None = None
    """When it was measured; None if that does not matter."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A row's figures, in the unit of its gate. `claim_value` is judged against the claim; None: `value` is."""

    value: float | None = None
    claim_value: float | None = None
    interval: tuple[float, float] | None = None
    samples: int = 0
    says: str = ""
    parts: list[Part]
    settings: list[str] = []
    """Durability and security of the loads; if it is empty, those of the run are shown."""
    evidence: list[str] = []
    unasked: str | None = None
    """Why the loads, with the options that were chosen, cannot judge the row (a rate far below the claim)."""
    asked: float | None = None
    """The rate that was offered, which no value can exceed: a higher claim was not put to the test."""


Measure = Callable[[Findings, RowClaim, Bound], Measurement]
"""From a run's findings to the measurement of one row, given its claim and its gate."""


def nothing(why: str) -> Measurement:
    """The measurement of a row that was not measured, with the reason."""
    return Measurement(parts=[Part(value=None, missing=why)])

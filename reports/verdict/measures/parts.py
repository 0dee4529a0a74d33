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
    p999: float | None = None
    max: float | None = None
    """Of a latency: its 99.9th percentile and its highest value."""
    took_s: float | None = None
    """How long it was measured; None: as long as the windows of its parts."""
    asked: float | None = None
    """The rate that was offered, which no value can exceed: a higher claim was not put to the test."""


def measuring_s(measurement: Measurement) -> float | None:
    """For how many seconds a row was measured: the windows of its parts together, each second once; None if that was
    not recorded."""
    windows = sorted(part.window for part in measurement.parts if part.window is not None)
    if measurement.took_s is not None or not windows:
        return measurement.took_s
    total_ns, until = 0, windows[0][0]
    for begin, end in windows:
        total_ns += max(0, end - max(begin, until))
        until = max(until, end)
    return total_ns / 1e9


Measure = Callable[[Findings, RowClaim, Bound], Measurement]
"""From a run's findings to the measurement of one row, given its claim and its gate."""


def nothing(why: str) -> Measurement:
    """The measurement of a row that was not measured, with the reason."""
    return Measurement(parts=[Part(value=None, missing=why)])

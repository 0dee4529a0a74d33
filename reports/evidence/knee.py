"""The record of a search for a knee (`evidence/knee/<scenario>.json`): the highest rate at which every gate holds.

Each try is a load with evidence of its own, in a folder that is read like a run's; what is kept here is what the
search went by, so that it can be followed and drawn. The folders let every verdict be computed again.
"""

from __future__ import annotations

from typing import Literal

import msgspec

StepOutcome = Literal["held", "missed", "late", "disturbed", "inconclusive", "failed"]
"""Every gate held; one was missed on valid evidence; the generator itself was late; the machine was disturbed; there
was not enough evidence; the load could not be made."""

KneeEnd = Literal["found", "late", "above", "below", "disturbed", "inconclusive", "failed", "tries"]
"""Between a rate that held and one that missed; between one that held and one at which the generator was late; the
highest rate allowed held; even the lowest one missed; or what kept the search from going on."""


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that the step was judged by."""

    id: str
    measured: float | None
    """None also where it falls among operations that failed."""
    unit: str | None
    gate: str
    """In words: `< 100 ms`."""
    verdict: str


class StepLatency(msgspec.Struct, frozen=True, kw_only=True):
    """What one operation took, by row; None where too many failed."""

    row: str
    p50_ms: float | None
    p99_ms: float | None
    samples: int
    gate_ms: float | None = None
    """The gate of the row, where the step was judged by it."""


class KneeStep(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one rate. Rates are operations a second in the scenario's unit, shares are of all cores."""

    rate: float
    folder: str
    """Below the run folder."""
    begin_ns: int
    end_ns: int
    outcome: StepOutcome
    why: str
    offered_per_s: float = 0.0
    achieved_per_s: float = 0.0
    """Operations that succeeded."""
    rows: list[StepRow] = []
    latencies: list[StepLatency] = []
    busy: float | None = None
    """None where the machine was not watched."""
    by_kind: dict[str, float] = {}
    """Kind of process -> its share."""


class Knee(msgspec.Struct, frozen=True, kw_only=True):
    """The interval is (`held`, `missed`): the knee lies at or above the one, below the other."""

    scenario: str
    unit: str
    """What the rates count."""
    step_s: float
    """Measured seconds of a try."""
    resolution: float
    held: float | None = None
    missed: float | None = None
    end: KneeEnd | None = None
    """None: it was interrupted."""
    steps: list[KneeStep] = []
    with_room: list[KneeStep] = []
    """Tries below the highest rate that held, made after the search; the last one counts."""

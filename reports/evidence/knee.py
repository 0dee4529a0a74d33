"""The record of a search for a knee (`evidence/knee/<scenario>.json`): the highest rate at which every gate holds.

Each try is a load with a run folder of its own, from which its verdict can be computed again. This record holds what
the search decided by, so that its course can be followed and drawn.
"""

from __future__ import annotations

from typing import Literal

import msgspec

StepOutcome = Literal["held", "missed", "late", "disturbed", "inconclusive", "failed"]
"""held: every gate held. missed: a gate was missed on valid evidence. late: the generator itself was late. disturbed:
the machine was disturbed. inconclusive: there was not enough evidence. failed: the load could not be made."""

KneeEnd = Literal["found", "late", "above", "below", "disturbed", "inconclusive", "failed", "tries"]
"""found: the knee lies between a rate that held and one that missed. late: the generator was late at the next rate
above one that held. above: even the highest rate allowed held. below: even the lowest rate missed. disturbed,
inconclusive, failed, tries (too many): what stopped the search."""


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that the step was judged by."""

    id: str
    measured: float | None
    """None if nothing was measured, or if the percentile falls among operations that failed."""
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
    """Relative to the run folder."""
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
    """Kind of process -> its share of all cores."""


class Knee(msgspec.Struct, frozen=True, kw_only=True):
    """The knee lies at or above `held`, the highest rate that held, and below `missed`, the lowest that missed."""

    scenario: str
    unit: str
    """What the rates count."""
    step_s: float
    """Measured seconds of a try."""
    resolution: float
    held: float | None = None
    missed: float | None = None
    end: KneeEnd | None = None
    """None if the search was interrupted."""
    steps: list[KneeStep] = []
    with_room: list[KneeStep] = []
    """Tries below the highest rate that held, made after the search; the last one counts."""

"""Chooses how long a hunted process runs between two freezes. Pure.

What a frozen process waits for arrives meanwhile. So its way from one event to the next is walked in its own running
time, in which a gap that waits for nobody is as long as the process's own work in it. A leap takes it to just before
the gap, then steps that shrink whenever one of them jumped over the gap. How far the gap is, and how short, is learned
from where the freezes fell; nothing is assumed of what the process does on its way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

STEP_MIN_S = 0.0003
"""A shorter run may end before the process got a core."""
_STEPS_EVEN = 20
"""So many steps are even; then each is longer than the one before, so that a walk of any length comes to its end."""
_LONGER = 1.1
_SHORTER = 0.8
_LEAP_SHARE = 0.8
"""Of the way that was clear last time: the next way is seldom as long."""


@dataclass(frozen=True)
class Stride:
    """Where a walk stands, and what earlier ones have taught; lengths in seconds of running time."""

    leap_s: float = 0.004
    step_s: float = 0.001
    walked_s: float = 0.0
    """Since the last event went through the gap."""
    runs: int = 0
    """How many it took."""

    def next_s(self, chance: float) -> float:
        """How long to let the process run now. `chance`, evenly from 0 to 1, keeps the walk out of step with whatever
        is periodic."""
        longer = _LONGER ** max(0, self.runs - _STEPS_EVEN)
        return (self.step_s * longer if self.runs else self.leap_s) * (0.5 + chance)

    def after(self, ran_s: float, *, passed: bool) -> Stride:
        """After a run of `ran_s`: whether an event went through the gap in it, so that the gap was jumped over."""
        if not passed:
            return replace(self, walked_s=self.walked_s + ran_s, runs=self.runs + 1)
        if not self.runs:
            return Stride(self.leap_s / 2, self.step_s)
        return Stride(self.walked_s * _LEAP_SHARE, max(STEP_MIN_S, self.step_s * _SHORTER))

    def anew(self) -> Stride:
        """The start of another walk, where this one was given up."""
        return Stride(self.leap_s, self.step_s)

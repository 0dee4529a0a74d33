"""Where a run of several phases is, how long it still takes, and whether there is time for one more. Pure but for its
clock.

Every kind of phase has a budget. What one kind takes beyond it comes out of a reserve that all share.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

REPEATS = "repeats"
"""The kind of a phase that is made again. It has no budget but what is left of the reserve."""
REPEATS_S = 300.0
"""The usual reserve for repeats."""


class Leg(NamedTuple):
    """One phase of a run, as planned."""

    name: str
    kind: str
    seconds: float


class Pace:
    """Follows phases as they begin and end; what was not planned does not count."""

    def __init__(
        self, legs: Sequence[Leg], budgets: Mapping[str, float] | None = None, reserve_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`budgets`: kind -> seconds; a kind without one has all the time that there is."""
        self._legs = list(legs)
        self._budgets = {REPEATS: 0.0, **(budgets or {})}
        self._reserve_s = reserve_s
        self._clock = clock
        self._past = 0
        self._began: float | None = None
        self._spent: dict[str, float] = defaultdict(float)

    def begin(self, name: str) -> None:
        """A phase begins; those planned before it are over."""
        names = [leg.name for leg in self._legs[self._past :]]
        if name in names:
            self._past += names.index(name)
            self._began = self._clock()

    def end(self, name: str) -> None:
        """A phase has ended, or is left out."""
        if self._past < len(self._legs) and self._legs[self._past].name == name:
            if self._began is not None:
                self._spent[self._legs[self._past].kind] += self._clock() - self._began
            self._began = None
            self._past += 1

    def insert(self, leg: Leg) -> None:
        """A phase that was not planned comes next."""
        self._legs.insert(self._past, leg)

    def has_time_for(self, kind: str, seconds: float) -> bool:
        """Whether a phase of that length fits into its kind's budget and what is left of the reserve."""
        return seconds <= self.left_s(kind)

    def left_s(self, kind: str) -> float:
        """What is left of a kind's budget and of the reserve, in seconds; below 0 if more was spent."""
        over_s = sum(
            max(0.0, spent - self._budgets.get(other, math.inf))
            for other, spent in self._spent.items()
            if other != kind
        )
        return self._budgets.get(kind, math.inf) + self._reserve_s - over_s - self._spent[kind]

    def words(self) -> str:
        """`phase 3 of 9, about 41 min left`; empty when all is over."""
        if self._past >= len(self._legs):
            return ""
        now, *later = self._legs[self._past :]
        passed_s = 0.0 if self._began is None else self._clock() - self._began
        left_s = max(0.0, now.seconds - passed_s) + sum(leg.seconds for leg in later)
        return f"phase {self._past + 1} of {len(self._legs)}, {_about(left_s)} left"


def _about(seconds: float) -> str:
    """`about 41 min`, `about 3 h 05 min`."""
    if seconds < 60:
        return "less than a minute"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"about {hours} h {minutes:02} min" if hours else f"about {minutes} min"

"""The search for a knee: the highest rate at which every gate of a scenario holds at once.

Rates go up by a factor until one is missed (or down, if the first one is), then the gap is halved on a logarithmic
scale. Two cores are noisy, so no single try decides: a miss counts when a second try misses, too; the rate that is
given as held has held twice; where two tries differ a third decides. A try in which the generator itself was late, or
the machine was disturbed, says nothing about the system: it is made again, a few times. A rate at which the generator
is late again ends the search from above like a miss, but the knee is then the generator's, and said to be so.

Pure: the caller of `next` makes the try and records how it ended. With at most one wrong outcome at each rate the
interval still holds the knee of a system that has one.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

from loadtests.arrivals.schedule import MAX_RATE_PER_S, ScheduleError, check_rate
from reports.evidence import KneeEnd, StepOutcome

GROWTH = 2.0
RESOLUTION = 0.1
"""The gap that is left between the two ends of the interval, as a share of the lower one."""
ROOM_TO = 0.8
"""Of the highest rate that held: a share at which a system can be run without watching it."""
_VOTES = 2
_LATE_TRIES = 2
_DISTURBED_TRIES = 3
_LOWEST_SHARE = 1 / 32
"""Of the first rate: below, the search gives up."""
_TRIES_MAX = 60
_DIGITS = 3

_State = Literal["open", "held", "closed"]


class Search:
    """One search, from `first` on and never above `most`."""

    def __init__(self, first: float, most: float = MAX_RATE_PER_S, resolution: float = RESOLUTION) -> None:
        """ScheduleError for rates that cannot be, or a resolution that leaves no gap or any."""
        self._first, self._most = check_rate(first), check_rate(most)
        if first > most:
            raise ScheduleError(f"rate: expected the first one to be at most the last, found {first:g} and {most:g}")
        if not 0.01 <= resolution <= 1:
            raise ScheduleError(f"resolution: expected a share from 0.01 to 1, found {resolution:g}")
        self._lowest = first * _LOWEST_SHARE
        self._resolution = resolution
        self._outcomes: dict[float, Counter[StepOutcome]] = {}
        self._tries = 0
        self._ended: KneeEnd | None = None

    @property
    def held(self) -> float | None:
        """The highest rate that held; once it has ended, twice."""
        return max((rate for rate in self._outcomes if self._state(rate) == "held"), default=None)

    @property
    def missed(self) -> float | None:
        """The lowest rate that did not: missed, or beyond the generator."""
        return min((rate for rate in self._outcomes if self._state(rate) == "closed"), default=None)

    @property
    def ended(self) -> KneeEnd | None:
        """How it ended, None while it goes on."""
        return self._ended

    def next(self) -> float | None:
        """The rate to be tried now; None when the search has ended."""
        if self._ended is None and self._tries >= _TRIES_MAX:
            self._ended = "tries"
        if self._ended is not None:
            return None
        undecided = [rate for rate in self._outcomes if self._state(rate) == "open"]
        step = undecided[0] if undecided else self._decided()
        if isinstance(step, str):
            self._ended = step
            return None
        return step

    def record(self, rate: float, outcome: StepOutcome) -> None:
        """How a try at the rate ended."""
        self._tries += 1
        seen = self._outcomes.setdefault(rate, Counter())
        seen[outcome] += 1
        if outcome == "disturbed" and seen[outcome] >= _DISTURBED_TRIES:
            self._ended = "disturbed"
        elif outcome in ("inconclusive", "failed"):
            self._ended = outcome

    def _state(self, rate: float) -> _State:
        seen = self._outcomes[rate]
        if seen["missed"] >= _VOTES or seen["late"] >= _LATE_TRIES:
            return "closed"
        if seen["held"] and (not seen["missed"] or seen["held"] >= _VOTES):
            return "held"
        return "open"

    def _decided(self) -> float | KneeEnd:
        """What comes next, or how it ends, where every rate that was tried is decided."""
        held, missed = self.held, self.missed
        if held is None and missed is None:
            return self._first
        if held is None:
            assert missed is not None
            lower = _rounded(missed / GROWTH)
            return lower if lower >= self._lowest else self._closed_by(missed, "below")
        if missed is None:
            return min(_rounded(held * GROWTH), self._most) if held < self._most else self._confirmed(held, "above")
        between = _rounded(math.sqrt(held * missed))
        if missed > held * (1 + self._resolution) and held < between < missed:
            return between
        return self._confirmed(held, self._closed_by(missed, "found"))

    def _closed_by(self, missed: float, by_a_miss: KneeEnd) -> KneeEnd:
        return by_a_miss if self._outcomes[missed]["missed"] >= _VOTES else "late"

    def _confirmed(self, held: float, end: KneeEnd) -> float | KneeEnd:
        """Once more the rate that is to be given as held, unless it has been; then the end."""
        return held if self._outcomes[held]["held"] < _VOTES else end


def with_room(held: float) -> float:
    """The rate that leaves room to the highest one that held."""
    return _rounded(ROOM_TO * held)


def _rounded(rate: float) -> float:
    """To three digits: a rate is said and compared by people."""
    return float(f"{rate:.{_DIGITS}g}")

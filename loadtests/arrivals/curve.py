"""The instants of operations that follow a rate over time.

A rate over time is a chain of straight lines. The operations expected up to an instant are its integral; followed
evenly, operation n is intended where that reaches n, followed at random, where it reaches the n-th arrival of a
Poisson process of rate one (time change: any shape of the mean, the same independence of arrivals). Pure: random
numbers come from a seed, and any operation can be asked for without those before it.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Protocol

_BLOCK = 1024
_NS = 1_000_000_000


class _Line(NamedTuple):
    """A straight line of the rate, in nanoseconds and operations a nanosecond, and what was expected before it."""

    begin_ns: float
    before: float
    rate: float
    slope: float
    length_ns: float


class Profile:
    """The integral of a rate over time, and its inverse. `points` are seconds and operations a second."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self._lines: list[_Line] = []
        before = 0.0
        for (begin_s, low), (end_s, high) in pairwise(points):
            if (length_ns := (end_s - begin_s) * _NS) > 0:
                slope = (high - low) / _NS / length_ns
                self._lines.append(_Line(begin_s * _NS, before, low / _NS, slope, length_ns))
                before += (low + high) / 2 * (end_s - begin_s)
        self.end_ns = round(points[-1][0] * _NS)
        self.expected = before
        self._begins = [line.begin_ns for line in self._lines]
        self._befores = [line.before for line in self._lines]

    def upto(self, elapsed_ns: int) -> float:
        """What is expected until then."""
        if elapsed_ns >= self.end_ns:
            return self.expected
        line = self._lines[max(0, bisect_right(self._begins, elapsed_ns) - 1)]
        passed = max(0.0, elapsed_ns - line.begin_ns)
        return line.before + passed * (line.rate + line.slope * passed / 2)

    def instant_ns(self, expected: float) -> int:
        """The first instant by which more than this is expected; the end if it never is."""
        if expected >= self.expected:
            return self.end_ns
        line = self._lines[bisect_right(self._befores, expected) - 1]
        more = expected - line.before
        # The root of rate * t + slope * t^2 / 2 = more, in the form that no small slope takes the digits from.
        root = math.sqrt(max(0.0, line.rate**2 + 2 * line.slope * more))
        passed = 2 * more / (line.rate + root) if more else 0.0
        return math.floor(line.begin_ns + min(passed, line.length_ns))


class _Levels(Protocol):
    """Where the operations of a process are on the scale of what is expected."""

    def level(self, n: int) -> float: ...

    def count(self, level: float) -> int:
        """About how many operations are at or below it."""


class _ProfileCurve:
    """The instants of a process that follows a profile, as `schedule.Curve` has them."""

    def __init__(self, profile: Profile, levels: _Levels) -> None:
        self._profile = profile
        self._levels = levels

    def offset_ns(self, n: int) -> int:
        """The instant of operation n after the beginning; the profile's end where there is no such operation."""
        return self._profile.instant_ns(self._levels.level(n))

    def count(self, elapsed_ns: int) -> int:
        """How many operations have an instant of at most this."""
        if elapsed_ns < 0:
            return 0
        elapsed_ns = min(elapsed_ns, self._profile.end_ns - 1)
        # Both directions are rounded: what is asked of `offset_ns` decides.
        n = self._levels.count(self._profile.upto(elapsed_ns))
        while self.offset_ns(n) <= elapsed_ns:
            n += 1
        while n > 0 and self.offset_ns(n - 1) > elapsed_ns:
            n -= 1
        return n


class EvenCurve(_ProfileCurve):
    """Operation n where n + phase are expected."""

    def __init__(self, profile: Profile, phase: float = 0.0) -> None:
        super().__init__(profile, _EvenLevels(phase))


class _EvenLevels:
    def __init__(self, phase: float) -> None:
        self._phase = phase

    def level(self, n: int) -> float:
        return n + self._phase

    def count(self, level: float) -> int:
        return max(0, math.floor(level - self._phase) + 1)


class PoissonCurve(_ProfileCurve):
    """Operation n at the n-th arrival of a Poisson process."""

    def __init__(self, profile: Profile, seed: int) -> None:
        super().__init__(profile, _RandomLevels(seed))


class _RandomLevels:
    """Arrivals of a Poisson process of rate one, by number.

    A block of k arrivals takes a Gamma(k) distributed time, and within it all but the last are where as many uniform
    numbers are in order: so blocks can be made one by one, each from the seed and its own number.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lengths = random.Random(f"{seed} lengths")
        self._begins = array("d", [0.0])
        self._block = lru_cache(maxsize=4)(self._make)

    def level(self, n: int) -> float:
        number, index = divmod(n, _BLOCK)
        return self._block(number)[index]

    def count(self, level: float) -> int:
        while self._begins[-1] <= level:
            self._add()
        number = bisect_right(self._begins, level) - 1
        return number * _BLOCK + bisect_right(self._block(number), level)

    def _add(self) -> None:
        self._begins.append(self._begins[-1] + self._lengths.gammavariate(_BLOCK, 1.0))

    def _make(self, number: int) -> list[float]:
        while len(self._begins) < number + 2:
            self._add()
        begin, end = self._begins[number], self._begins[number + 1]
        own = random.Random(f"{self._seed} block {number}")
        return [*sorted(own.uniform(begin, end) for _ in range(_BLOCK - 1)), end]

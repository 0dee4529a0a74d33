"""The open-loop schedule: operation n is intended at t0 + n / rate, whatever the system under test does; or where
another process of arrivals has it (`loadtests.arrivals.arrival_process`).

Latency counted from the intended instant keeps the time that a request had to wait because earlier ones
were slow (coordinated omission). All arithmetic is on whole nanoseconds from t0, so nothing drifts however
long a run is. Pure: the caller brings the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

MAX_RATE_PER_S = 1_000_000.0
MAX_DURATION_S = 7 * 86_400.0
RUN_NS = 250_000
"""What the instants of a run span at most. At 0.1 ms, accounting for 100,000 messages a second took twice the CPU."""
_NS = 1_000_000_000


class ScheduleError(ValueError):
    """A rate or a duration that no schedule can be made of; one line, fit to be shown to a user."""


def check_rate(rate: float) -> float:
    """`rate` in operations a second, if a schedule can follow it; else ScheduleError."""
    if not math.isfinite(rate) or not 0 < rate <= MAX_RATE_PER_S:
        raise ScheduleError(f"rate: expected a number above 0, at most {MAX_RATE_PER_S:,.0f}/s; found {rate}")
    return float(rate)


def check_duration(duration_s: float, what: str = "duration") -> float:
    """`duration_s`, if a run can be that long; else ScheduleError."""
    if not math.isfinite(duration_s) or not 0 < duration_s <= MAX_DURATION_S:
        raise ScheduleError(f"{what}: expected seconds above 0, at most {MAX_DURATION_S:,.0f}; found {duration_s}")
    return float(duration_s)


class Curve(Protocol):
    """A process of arrivals that is not one even rate."""

    def offset_ns(self, n: int) -> int:
        """The instant of operation n, counted from the beginning; never earlier than that of operation n - 1."""

    def count(self, elapsed_ns: int) -> int:
        """How many operations have an instant of at most `elapsed_ns`, to the end of the process."""


@dataclass(frozen=True)
class Schedule:
    """Operations 0 ... `total` - 1; those from `first_measured` on are in the measured window."""

    begin_ns: int
    rate: float
    """Operations a second; on average over the measured window where a curve says when."""
    warmup_s: float
    duration_s: float
    burst: int = 1
    """Operations that are released together, at the instant of the last of them; where a curve is slower than the rate,
    fewer, so that none waits longer than a burst takes at that rate. Each keeps an instant of its own, so that the wait
    for the others is a part of its latency."""
    curve: Curve | None = field(default=None, repr=False)
    """When, if not evenly."""
    # A rate is a float; as a ratio of integers it is exact, so that n / rate has no rounding to add up.
    _ratio: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_rate(self.rate)
        object.__setattr__(self, "_ratio", float(self.rate).as_integer_ratio())
        check_duration(self.duration_s)
        if self.burst < 1:
            raise ScheduleError(f"burst: expected at least one operation, found {self.burst}")
        if self.warmup_s != 0:
            check_duration(self.warmup_s, "warm-up")

    def intended_ns(self, n: int) -> int:
        """The instant of operation `n`, in ns of the clock that `begin_ns` was read from."""
        if self.curve is not None:
            return self.begin_ns + self.curve.offset_ns(n)
        numerator, denominator = self._ratio
        return self.begin_ns + n * _NS * denominator // numerator

    def released_ns(self, n: int) -> int:
        """The instant at which operation `n` is to be released: with its burst."""
        whole = self.intended_ns(min((n // self.burst + 1) * self.burst, self.total) - 1)
        if self.curve is None or self.burst == 1:
            return whole
        gathered = (self.intended_ns(n) - self.begin_ns) // self._burst_ns + 1
        return min(whole, self.begin_ns + gathered * self._burst_ns)

    def due(self, now_ns: int) -> int:
        """How many operations are to be released at or before `now_ns`."""
        intended = self._at_or_before(now_ns)
        if intended >= self.total:
            return self.total
        whole = intended // self.burst * self.burst
        if self.curve is None or self.burst == 1:
            return whole
        gathered = max(0, now_ns - self.begin_ns) // self._burst_ns
        return max(whole, self._at_or_before(self.begin_ns + gathered * self._burst_ns - 1))

    @cached_property
    def _burst_ns(self) -> int:
        """How long a burst takes at the average rate."""
        return math.ceil(self.burst * _NS / self.rate)

    def runs(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Operations `first` ... `end` - 1 in runs: (first, end, instant of the first).

        The instants of a run lie less than 0.25 ms apart, so that what is counted from its instant is never too short
        and at most that much too long, and a hundred thousand operations a second stay cheap. None is half in the
        warm-up.
        """
        while first < end:
            instant = self.intended_ns(first)
            until = instant + RUN_NS
            if instant < self.measured_ns:
                until = min(until, self.measured_ns)
            stop = min(end, self._at_or_before(until - 1))
            yield first, stop, instant
            first = stop

    def _at_or_before(self, now_ns: int) -> int:
        """How many operations are intended at or before `now_ns`, if there were no end."""
        elapsed = now_ns - self.begin_ns
        if elapsed < 0:
            return 0
        if self.curve is not None:
            return self.curve.count(elapsed)
        numerator, denominator = self._ratio
        # The largest n whose floored instant is not later, plus one as n counts from 0.
        return -(-(elapsed + 1) * numerator // (_NS * denominator))

    @cached_property
    def total(self) -> int:
        """How many operations the schedule asks for: those intended before `end_ns`."""
        return self._at_or_before(self.end_ns - 1)

    @cached_property
    def first_measured(self) -> int:
        """The first operation that is intended at or after `measured_ns`."""
        return min(self._at_or_before(self.measured_ns - 1), self.total)

    @property
    def measured(self) -> int:
        """How many operations are in the measured window."""
        return self.total - self.first_measured

    @property
    def measured_ns(self) -> int:
        """Where the warm-up ends and the measured window begins."""
        return self.begin_ns + round(self.warmup_s * _NS)

    @property
    def end_ns(self) -> int:
        """Where the measured window ends."""
        return self.measured_ns + round(self.duration_s * _NS)

"""How a run's operations arrive: a rate over time, followed evenly or as a Poisson process.

Pure, and plain data, so that it goes to the engine processes in their specification.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from loadtests.arrivals.curve import EvenCurve, PoissonCurve, Profile
from loadtests.arrivals.schedule import Schedule, ScheduleError, check_duration, check_rate

RANDOM_MAX = 100_000_000
"""Arrivals that a random process may have: where each thousand of them begin is kept."""
_NS = 1_000_000_000


class ArrivalProcess(msgspec.Struct, frozen=True, kw_only=True):
    """The operations of a whole run: all its generators together follow this in the measured window."""

    text: str
    """As it was asked for."""
    points: list[tuple[float, float]]
    """(second of the measured window, operations a second), from 0 to the end, straight lines between; two points of
    one second are a step."""
    random: bool = False

    @property
    def duration_s(self) -> float:
        return self.points[-1][0]

    @property
    def expected(self) -> float:
        """How many operations, of a random process on average."""
        return sum((low[1] + high[1]) / 2 * (high[0] - low[0]) for low, high in pairwise(self.points))

    @property
    def mean_rate(self) -> float:
        return self.expected / self.duration_s

    @property
    def peak_rate(self) -> float:
        return max(rate for _, rate in self.points)

    @property
    def even(self) -> bool:
        """Whether it is one rate, evenly."""
        return not self.random and len({rate for _, rate in self.points}) == 1

    def schedule(
        self, *, begin_ns: int, warmup_s: float, user: int = 0, users: int = 1, seed: int = 1, burst: int = 1
    ) -> Schedule:
        """The share of generator `user` of `users`. Evenly, they take turns; at random, each is a process of its own,
        whose sum is one again. The warm-up has the rate that the measured window begins with."""
        rate = self.mean_rate / users
        if self.even:
            begin_ns += round(user / self.mean_rate * _NS)
            return Schedule(begin_ns, rate, warmup_s, self.duration_s, burst)
        first = self.points[0][1]
        shifted = [(second + warmup_s, each) for second, each in self.points]
        profile = Profile([(second, each / users) for second, each in [(0.0, first), *shifted]])
        curve = PoissonCurve(profile, seed) if self.random else EvenCurve(profile, user / users)
        return Schedule(begin_ns, rate, warmup_s, self.duration_s, burst, curve)


def check(arrival: ArrivalProcess) -> ArrivalProcess:
    """The process, if schedules can follow it; else ScheduleError in one line."""
    seconds = [second for second, _ in arrival.points]
    if not seconds or seconds[0] != 0 or any(low > high for low, high in pairwise(seconds)):
        raise ScheduleError(f"arrival {arrival.text}: expected seconds from 0 on that never go back")
    check_duration(arrival.duration_s)
    for _, rate in arrival.points:
        if rate != 0:  # It may pause; that it offers anything at all is seen below.
            check_rate(rate)
    if arrival.expected < 1:
        raise ScheduleError(f"arrival {arrival.text}: expected at least one operation, found {arrival.expected:g}")
    if arrival.random and arrival.expected > RANDOM_MAX:
        raise ScheduleError(
            f"arrival {arrival.text}: expected at most {RANDOM_MAX:,} operations at random,"
            f" found {arrival.expected:,.0f}"
        )
    return arrival


def even(rate: float, duration_s: float) -> ArrivalProcess:
    """One rate, evenly. ScheduleError for what no schedule can follow."""
    points = [(0.0, check_rate(rate)), (check_duration(duration_s), rate)]
    return check(ArrivalProcess(text=f"{rate:g}/s", points=points))

"""Arrivals against the rate that was asked for: exact instants, the right number of them, the right spread."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise
from statistics import fmean, pvariance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.arrivals.arrival_process import RANDOM_MAX, ArrivalProcess, check
from loadtests.arrivals.schedule import MAX_RATE_PER_S, Schedule, ScheduleError

_NS = 1_000_000_000


@st.composite
def processes(draw: st.DrawFn) -> ArrivalProcess:
    """Any chain of up to six lines, with pauses and steps, of at least one operation."""
    points = [(0.0, draw(st.sampled_from([0.0, 1.0, 300.0])))]
    for _ in range(draw(st.integers(1, 6))):
        second = points[-1][0] + draw(st.sampled_from([0.0, 0.3, 1.0, 7.5]))
        points.append((second, draw(st.one_of(st.just(0.0), st.floats(0.5, 5000.0)))))
    points.append((points[-1][0] + 1.0, 20.0))
    return ArrivalProcess(text="drawn", points=points, random=draw(st.booleans()))


plans = st.builds(
    ArrivalProcess.schedule,
    processes(),
    begin_ns=st.sampled_from([0, 10**15]),
    warmup_s=st.sampled_from([0.0, 2.0]),
    user=st.integers(0, 2),
    users=st.just(3),
    seed=st.integers(1, 5),
    burst=st.sampled_from([1, 4]),
)


@settings(max_examples=200)
@given(plans, st.integers(0, 10**6))
def test_an_operation_is_due_at_its_instant_and_not_a_nanosecond_before(plan: Schedule, n: int) -> None:
    total = plan.total
    if total:
        n %= total
        instant = plan.released_ns(n)
        assert 0 <= instant - plan.intended_ns(n) <= plan.burst * _NS / plan.rate + 1
        assert plan.due(instant) > n
        assert plan.due(instant - 1) <= n
        assert plan.intended_ns(total - 1) < plan.end_ns
    assert plan.due(plan.end_ns + 10**12) == total
    first = plan.first_measured
    assert first == total or plan.intended_ns(first) >= plan.measured_ns
    assert first == 0 or plan.intended_ns(first - 1) < plan.measured_ns


@given(processes())
def test_generators_offer_together_what_was_asked_for(arrival: ArrivalProcess) -> None:
    if arrival.random:
        return
    shares = [arrival.schedule(begin_ns=0, warmup_s=0.0, user=user, users=3) for user in range(3)]
    assert abs(sum(each.total for each in shares) - arrival.expected) <= 1.001
    instants = sorted(each.intended_ns(n) for each in shares for n in range(min(each.total, 300)))
    alone = arrival.schedule(begin_ns=0, warmup_s=0.0)
    for n, instant in enumerate(instants[:300]):
        assert abs(instant - alone.intended_ns(n)) <= 2


def test_a_ramp_offers_the_area_below_it() -> None:
    plan = ArrivalProcess(text="ramp", points=[(0.0, 0.0), (10.0, 100.0)]).schedule(begin_ns=0, warmup_s=0.0)
    assert plan.total == 500
    # Half of the time is a quarter of the operations, and operation n is due at sqrt(n / 5) seconds.
    assert plan.due(5 * _NS - 1) == 125
    assert plan.intended_ns(320) == 8 * _NS


def test_nothing_is_offered_in_a_pause() -> None:
    points = [(0.0, 10.0), (1.0, 10.0), (1.0, 0.0), (3.0, 0.0), (3.0, 20.0), (4.0, 20.0)]
    plan = ArrivalProcess(text="paused", points=points).schedule(begin_ns=0, warmup_s=0.0)
    assert plan.total == 30
    assert plan.intended_ns(9) == 900_000_000
    assert plan.intended_ns(10) == 3 * _NS
    assert plan.due(2 * _NS) == 10


def test_the_warm_up_has_the_first_rate_and_is_not_measured() -> None:
    plan = ArrivalProcess(text="ramp", points=[(0.0, 100.0), (1.0, 300.0)]).schedule(begin_ns=0, warmup_s=2.0)
    assert (plan.first_measured, plan.total) == (200, 400)
    assert plan.rate == 200


def test_a_poisson_process_has_independent_gaps_of_its_rate() -> None:
    """Deterministic, for the seed is given: gaps are exponential (Kolmogorov-Smirnov), counts vary as their mean."""
    arrival = ArrivalProcess(text="poisson", points=[(0.0, 1000.0), (100.0, 1000.0)], random=True)
    plan = arrival.schedule(begin_ns=0, warmup_s=0.0, seed=7)
    instants = [plan.intended_ns(n) for n in range(plan.total)]
    assert abs(len(instants) - 100_000) < 4 * math.sqrt(100_000)
    gaps = sorted(after - before for before, after in pairwise(instants))
    count = len(gaps)
    distance = max(abs((i + 1) / count - (1 - math.exp(-gap / 1e6))) for i, gap in enumerate(gaps))
    assert distance < 1.63 / math.sqrt(count), "1% critical value"
    tenths = [bisect_left(instants, (i + 1) * _NS // 10) - bisect_left(instants, i * _NS // 10) for i in range(1000)]
    assert 0.85 < pvariance(tenths) / fmean(tenths) < 1.15


def test_the_same_seed_gives_the_same_arrivals_and_another_one_others() -> None:
    arrival = ArrivalProcess(text="poisson", points=[(0.0, 500.0), (10.0, 500.0)], random=True)
    one, same, other = (arrival.schedule(begin_ns=0, warmup_s=0.0, seed=seed) for seed in (1, 1, 2))
    # Asked in another order, they are the same.
    backwards = [same.intended_ns(n) for n in reversed(range(1500))]
    assert [one.intended_ns(n) for n in range(1500)] == backwards[::-1]
    assert [other.intended_ns(n) for n in range(10)] != backwards[::-1][:10]


@pytest.mark.parametrize(
    ("arrival", "said"),
    [
        (ArrivalProcess(text="x", points=[]), "seconds from 0 on"),
        (ArrivalProcess(text="x", points=[(0.0, 1.0), (2.0, 1.0), (1.0, 1.0)]), "never go back"),
        (ArrivalProcess(text="x", points=[(0.0, 1.0), (0.0, 1.0)]), "duration: expected"),
        (ArrivalProcess(text="x", points=[(0.0, 1.0), (5.0, -1.0)]), "rate: expected"),
        (ArrivalProcess(text="x", points=[(0.0, 1.0), (5.0, MAX_RATE_PER_S * 2)]), "rate: expected"),
        (ArrivalProcess(text="x", points=[(0.0, 0.0), (5.0, 0.0)]), "expected at least one operation"),
        (
            ArrivalProcess(text="x", points=[(0.0, 1e6), (RANDOM_MAX / 1e6 + 1, 1e6)], random=True),
            "operations at random, found",
        ),
    ],
)
def test_what_no_schedule_can_express_is_refused_in_one_line(arrival: ArrivalProcess, said: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        check(arrival)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)

"""The schedule's promises: exact instants, no drift, and the same answer from either direction."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals.schedule import (
    MAX_DURATION_S,
    MAX_RATE_PER_S,
    RUN_NS,
    Schedule,
    ScheduleError,
    check_duration,
    check_rate,
)

rates = st.floats(min_value=0.01, max_value=MAX_RATE_PER_S)
schedules = st.builds(
    Schedule,
    begin_ns=st.integers(0, 2**62),
    rate=rates,
    warmup_s=st.sampled_from([0.0, 0.5, 5.0]),
    duration_s=st.floats(min_value=0.001, max_value=3600.0),
    burst=st.sampled_from([1, 2, 7, 40]),
)


@given(schedules, st.integers(0, 10_000_000))
def test_an_operation_is_due_at_its_instant_and_not_a_nanosecond_before(schedule: Schedule, n: int) -> None:
    n = min(n, schedule.total - 1)
    instant = schedule.released_ns(n)
    assert instant >= schedule.intended_ns(n)
    assert schedule.due(instant) > n
    assert schedule.due(instant - 1) <= n


@given(schedules)
def test_the_total_is_what_is_due_at_the_end(schedule: Schedule) -> None:
    assert schedule.due(schedule.end_ns + 10**18) == schedule.total
    assert schedule.total >= 1
    assert schedule.intended_ns(schedule.total - 1) < schedule.end_ns
    assert replace(schedule, burst=1).intended_ns(schedule.total) >= schedule.end_ns


@given(schedules)
def test_the_measured_window_begins_after_the_warm_up(schedule: Schedule) -> None:
    first = schedule.first_measured
    assert first == schedule.total or schedule.intended_ns(first) >= schedule.measured_ns
    assert first == 0 or schedule.intended_ns(first - 1) < schedule.measured_ns


@given(schedules, st.integers(0, 10_000_000))
def test_a_burst_is_released_with_its_last_and_changes_no_instant(schedule: Schedule, n: int) -> None:
    even = replace(schedule, burst=1)
    assert schedule.total == even.total
    n = min(n, schedule.total - 1)
    assert schedule.intended_ns(n) == even.intended_ns(n)
    last = min(n - n % schedule.burst + schedule.burst, schedule.total) - 1
    assert schedule.released_ns(n) == even.intended_ns(last)


@given(schedules, st.integers(0, 10_000_000), st.integers(1, 300))
def test_runs_cover_all_and_none_counts_too_short_or_much_too_long(schedule: Schedule, first: int, count: int) -> None:
    first = min(first, schedule.total - 1)
    end = min(first + count, schedule.total)
    runs = list(schedule.runs(first, end))
    assert [n for begin, stop, _ in runs for n in range(begin, stop)] == list(range(first, end))
    for begin, stop, instant in runs:
        assert instant == schedule.intended_ns(begin)
        assert schedule.intended_ns(stop - 1) - instant < RUN_NS
        assert not begin < schedule.first_measured < stop


@given(rates, st.integers(1, 10**9))
def test_no_instant_drifts_from_n_over_rate(rate: float, n: int) -> None:
    schedule = Schedule(0, rate, 0.0, 1.0)
    numerator, denominator = rate.as_integer_ratio()
    assert schedule.intended_ns(n) == n * 10**9 * denominator // numerator


def test_ten_thousand_a_second_for_thirty_seconds_are_three_hundred_thousand() -> None:
    schedule = Schedule(7, 10_000.0, 5.0, 30.0)
    assert schedule.total - schedule.first_measured == 300_000
    assert schedule.due(6) == 0
    assert schedule.due(7) == 1


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, MAX_RATE_PER_S * 1.01])
def test_a_rate_that_cannot_be_is_refused_in_one_line(rate: float) -> None:
    with pytest.raises(ScheduleError, match=r"^rate: expected .* found .*$"):
        check_rate(rate)
    with pytest.raises(ScheduleError):
        Schedule(0, rate, 0.0, 1.0)


@pytest.mark.parametrize("duration_s", [0, -0.5, math.nan, math.inf, MAX_DURATION_S + 1])
def test_a_duration_that_cannot_be_is_refused_in_one_line(duration_s: float) -> None:
    with pytest.raises(ScheduleError, match=r"^duration: expected .* found .*$"):
        check_duration(duration_s)
    with pytest.raises(ScheduleError):
        Schedule(0, 1.0, 0.0, duration_s)


def test_a_burst_of_nothing_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"^burst: expected .* found 0$"):
        Schedule(0, 1.0, 0.0, 1.0, burst=0)

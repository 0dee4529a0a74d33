"""Intervals against exact binomials and against what is known of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import Recorder, percentile_ms
from reports.findings.intervals import bound_without_a_miss, percentile_interval_ms, share_interval


def _chance(below_first: int, below_last: int, count: int, share: float) -> float:
    """The exact chance that so many of `count` values lie below their true percentile."""
    numbers = range(below_first, below_last + 1)
    return sum(math.comb(count, below) * share**below * (1 - share) ** (count - below) for below in numbers)


@pytest.mark.parametrize(("count", "percent"), [(100, 50), (400, 95), (1000, 90), (1000, 99)])
def test_the_true_percentile_lies_outside_its_interval_in_at_most_5_percent(count: int, percent: float) -> None:
    recorder = Recorder()
    for rank in range(1, count + 1):
        recorder.record_us(rank)  # below 2,048 us the histogram is exact: a value is its rank
    interval = percentile_interval_ms(recorder.close(), percent)
    assert interval is not None
    low, high = round(interval[0] * 1000), round(interval[1] * 1000)
    above, below = _chance(0, low - 1, count, percent / 100), _chance(high, count, count, percent / 100)
    assert 0.001 < above < 0.025
    assert 0.001 < below < 0.025


def test_with_few_operations_a_p99_has_no_upper_end() -> None:
    recorder = Recorder()
    for _ in range(200):
        recorder.record_us(500)
    interval = percentile_interval_ms(recorder.close(), 99)
    assert interval is not None
    assert interval[1] == math.inf


@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=300), st.integers(0, 20))
def test_the_measured_percentile_lies_in_its_interval(values_us: list[int], failed: int) -> None:
    recorder = Recorder()
    for value in values_us:
        recorder.record_us(value)
    recorder.failed = failed
    latencies = recorder.close()
    interval, value_ms = percentile_interval_ms(latencies, 99), percentile_ms(latencies, 99)
    assert interval is not None
    assert value_ms is not None
    assert interval[0] <= value_ms <= interval[1]


def test_without_operations_there_is_no_interval() -> None:
    assert percentile_interval_ms(Recorder().close(), 99) is None
    assert share_interval(0, 0) is None


def test_thirty_thousand_clean_requests_show_four_nines() -> None:
    interval = share_interval(40_000, 40_000)
    assert interval is not None
    assert interval[0] > 0.9999
    fewer = share_interval(20_000, 20_000)
    assert fewer is not None
    assert fewer[0] < 0.9999


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_share_lies_in_its_interval(good: int, more: int) -> None:
    total = good + more
    interval = share_interval(good, total)
    assert interval is not None
    assert 0 <= interval[0] <= good / total <= interval[1] <= 1


def test_the_rule_of_three() -> None:
    assert bound_without_a_miss(59) == pytest.approx(0.05, abs=0.0005)
    assert bound_without_a_miss(299) == pytest.approx(3 / 299, rel=0.01)
    assert bound_without_a_miss(0) == 1

"""Latency distributions against the raw data that they were made of."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import Latencies, Recorder, count_below, counts_us, merge, percentile_ms

_PRECISION = 0.002
"""Three significant digits: a bucket is at most 0.1% wide, and the library answers its upper end."""

latencies_us = st.lists(st.integers(min_value=1, max_value=3_000_000_000), min_size=1, max_size=200)
percents = st.sampled_from([1, 10, 50, 75, 90, 95, 99, 99.9, 100])


def record(values_us: list[int], failed: int = 0, unknown: int = 0) -> Latencies:
    recorder = Recorder()
    for value in values_us:
        recorder.record_us(value)
    recorder.failed, recorder.unknown = failed, unknown
    return recorder.close()


def exact_us(values_us: list[int], percent: float) -> int:
    """Nearest rank in whole-number arithmetic, so that it shares no rounding with what it checks."""
    rank = max(1, -(-round(percent * 10) * len(values_us) // 1000))
    return sorted(values_us)[rank - 1]


@given(latencies_us, percents)
def test_a_percentile_is_that_of_the_sorted_data(values_us: list[int], percent: float) -> None:
    found_ms = percentile_ms(record(values_us), percent)
    assert found_ms is not None
    assert math.isclose(found_ms * 1000, exact_us(values_us, percent), rel_tol=_PRECISION, abs_tol=1.5)


def test_every_rank_of_every_size_is_found() -> None:
    # Values far apart, so that a neighbour's rank cannot pass for the right one.
    for size in (1, 3, 29, 58):
        latencies = record(
            [1000 * 2**index if index < 20 else 1_000_000_000 + index * 10_000_000 for index in range(size)]
        )
        values = [1000 * 2**index if index < 20 else 1_000_000_000 + index * 10_000_000 for index in range(size)]
        for rank in range(1, size + 1):
            found_ms = percentile_ms(latencies, rank / size * 100)
            assert found_ms is not None
            assert math.isclose(found_ms * 1000, sorted(values)[rank - 1], rel_tol=_PRECISION)


@given(st.lists(latencies_us, min_size=1, max_size=5), percents)
def test_merged_parts_are_the_whole(parts_us: list[list[int]], percent: float) -> None:
    whole = record([value for part in parts_us for value in part])
    merged = merge(record(part) for part in parts_us)
    assert merged.samples == whole.samples
    assert percentile_ms(merged, percent) == percentile_ms(whole, percent)


@given(latencies_us, st.integers(0, 50), st.integers(0, 50), percents)
def test_operations_that_failed_rank_above_all_others(
    values_us: list[int], failed: int, unknown: int, percent: float
) -> None:
    found_ms = percentile_ms(record(values_us, failed, unknown), percent)
    total = len(values_us) + failed + unknown
    rank = max(1, -(-round(percent * 10) * total // 1000))
    assert found_ms is not None
    if rank > len(values_us):
        assert found_ms == math.inf
    else:
        assert math.isclose(found_ms * 1000, sorted(values_us)[rank - 1], rel_tol=_PRECISION, abs_tol=1.5)


@given(latencies_us, st.integers(0, 4_000_000))
def test_what_lies_below_a_value_is_counted(values_us: list[int], limit_us: int) -> None:
    latencies = record(values_us)
    assert sum(count for _, count in counts_us(latencies)) == len(values_us)
    found = count_below(latencies, limit_us)
    low, high = limit_us * (1 - _PRECISION) - 1.5, limit_us * (1 + _PRECISION) + 1.5
    assert sum(value < low for value in values_us) <= found <= sum(value <= high for value in values_us)


def test_without_operations_there_is_no_percentile() -> None:
    assert percentile_ms(record([]), 99) is None
    assert percentile_ms(record([], failed=1), 99) == math.inf


def test_values_below_zero_are_counted_and_kept_with_their_lowest() -> None:
    recorder = Recorder()
    for value in (-250, -3, 400):
        recorder.record_us(value)
    latencies = merge([recorder.close(), record([5])])
    assert (latencies.samples, latencies.negative, latencies.min_us) == (4, 2, -250)


def test_a_value_over_an_hour_is_kept_as_an_hour() -> None:
    found_ms = percentile_ms(record([2 * 3_600_000_000]), 50)
    assert found_ms is not None
    assert math.isclose(found_ms, 3_600_000, rel_tol=_PRECISION)


def test_the_order_of_merging_does_not_matter() -> None:
    parts = [record([10, 20], failed=1), record([500_000]), record([], unknown=2)]
    assert merge(parts) == merge(reversed(parts))

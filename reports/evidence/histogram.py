"""Latency distributions that merge exactly and are not rounded: HdrHistogram, 1 us to 1 h, 3 digits.

A percentile over several processes is taken from the merged histogram, never averaged. Operations that
failed or never answered rank above everything recorded: a system that answers half of its requests fast
and drops the rest has no fast p99.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate

from hdrh.histogram import HdrHistogram

from reports.evidence.records import Latencies

_LOWEST_US = 1
_HIGHEST_US = 3_600_000_000
_DIGITS = 3
_EXACT_BITS = 11
"""Significant bits that the histogram keeps: values below 2,048 are exact, each doubling above has 1,024 steps."""


class Recorder:
    """Counts latencies of one operation in constant memory; `close()` gives the record.

    Values are counted in a dict, by the histogram step that they fall into, and the library's histogram is built only
    on `close()`: recording each value into the library's histogram would take ten times as long.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.failed = 0
        self.unknown = 0
        self._negative = 0
        self._min_us = 0

    def record_us(self, latency_us: int, count: int = 1) -> None:
        """Count a latency. One below zero is kept as 1 us and also counted as negative; above 1 h it is kept as 1 h."""
        if latency_us < _LOWEST_US or latency_us > _HIGHEST_US:
            if latency_us < 0:
                self._negative += count
                self._min_us = min(self._min_us, latency_us)
            latency_us = min(max(latency_us, _LOWEST_US), _HIGHEST_US)
        if (wider := latency_us.bit_length() - _EXACT_BITS) > 0:
            latency_us = latency_us >> wider << wider
        counts = self._counts
        counts[latency_us] = counts.get(latency_us, 0) + count

    @property
    def samples(self) -> int:
        return sum(self._counts.values())

    def close(self) -> Latencies:
        histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
        for latency_us, count in self._counts.items():
            histogram.record_value(latency_us, count)
        return Latencies(
            hdr=histogram.encode().decode("ascii"),
            samples=self.samples,
            failed=self.failed,
            unknown=self.unknown,
            negative=self._negative,
            min_us=self._min_us,
        )


def _decode(latencies: Latencies) -> HdrHistogram:
    return HdrHistogram.decode(latencies.hdr.encode("ascii"))


def merge(parts: Iterable[Latencies]) -> Latencies:
    """The distribution of all parts together; their order does not matter."""
    total = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
    failed = unknown = negative = min_us = 0
    for part in parts:
        total.add(_decode(part))
        failed += part.failed
        unknown += part.unknown
        negative += part.negative
        min_us = min(min_us, part.min_us)
    return Latencies(
        hdr=total.encode().decode("ascii"),
        samples=int(total.get_total_count()),
        failed=failed,
        unknown=unknown,
        negative=negative,
        min_us=min_us,
    )


@lru_cache(maxsize=256)
def counts_us(latencies: Latencies) -> tuple[tuple[int, int], ...]:
    """(latency in us, how many took so long) of each step of the histogram that has any, the fastest first."""
    histogram = _decode(latencies)
    # The library's own iterator takes a hundred times as long.
    counts = list(histogram.counts)
    return tuple(
        (int(histogram.get_value_from_index(index)), int(count)) for index, count in enumerate(counts) if count
    )


@lru_cache(maxsize=256)
def _sums(latencies: Latencies) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the steps of the histogram, how many lie below each and below the end)"""
    parts = counts_us(latencies)
    return tuple(value for value, _ in parts), tuple(accumulate((count for _, count in parts), initial=0))


def count_below(latencies: Latencies, limit_us: float) -> int:
    """How many of those that were recorded took less."""
    values, below = _sums(latencies)
    return below[bisect_left(values, limit_us)]


# A run asks for the same percentile of the same distribution for rows, notes and documents.
@lru_cache(maxsize=1024)
def percentile_ms(latencies: Latencies, percent: float) -> float | None:
    """The latency in ms at or below which `percent` (0 to 100) of all operations ended; None without any operation.

    Operations that failed or never answered rank last: a percentile that falls among them is `inf`.
    """
    total = latencies.samples + latencies.failed + latencies.unknown
    if total == 0:
        return None
    # Rounded first: 99.9% of 1,000 is rank 999, and 999.0000000000001 in binary fractions.
    rank = max(1, math.ceil(round(percent * total / 100, 6)))
    if rank > latencies.samples:
        return math.inf
    # The library rounds `percent * count` to the nearest rank, so the share of exactly this rank finds this rank.
    return float(_decode(latencies).get_value_at_percentile(rank / latencies.samples * 100)) / 1000


def max_ms(latencies: Latencies) -> float | None:
    """The highest latency in ms of those that were recorded; None without any. Failed operations have none."""
    return float(_decode(latencies).get_max_value()) / 1000 if latencies.samples else None

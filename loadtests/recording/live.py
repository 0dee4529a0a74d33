"""What Locust shows while a load runs: counts and rounded times, handed on a few times a second.

Locust keeps response times in buckets of two significant digits; a true 104 ms reads 100 there. So these
figures are for the eye; verdicts read the histograms of `tally`.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

_MAX_ERROR_TEXTS = 10
_MAX_ERROR_CHARS = 100
"""A line must fit a pipe's atomic write of 4,096 bytes."""


class Stat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What happened to one kind of operation since the last such line, for Locust to add up."""

    name: str
    method: str
    warmup: bool = False
    """Whether it is of the warm-up: shown while that goes on, and part of no total."""
    response_times_ms: dict[int, int]
    """As Locust buckets them -> count, of those that were answered, ok or not."""
    total_ms: float
    min_ms: float
    max_ms: float
    errors: dict[str, int]
    row: str = ""
    """The row that these operations are evidence for; empty if there is none."""
    region: str | None = None


class _Gathering:
    """The gathering of one `Stat`. What is done for each operation is only counting; the rest waits for `take`."""

    def __init__(self) -> None:
        self.times_ms: dict[float, int] = {}
        self.errors: dict[str, int] = defaultdict(int)

    def add(self, latency_ms: float, error: str, count: int) -> None:
        self.times_ms[latency_ms] = self.times_ms.get(latency_ms, 0) + count
        if error:
            text = error[:_MAX_ERROR_CHARS]
            known = text in self.errors or len(self.errors) < _MAX_ERROR_TEXTS
            self.errors[text if known else "other"] += count

    def stat(self, method: str, name: str, *, warmup: bool, row: str, region: str | None) -> Stat:
        times: Counter[int] = Counter()
        for latency_ms, count in self.times_ms.items():
            times[_locust_bucket(latency_ms)] += count
        return Stat(
            name=name, method=method, warmup=warmup, response_times_ms=times,
            total_ms=sum(latency_ms * count for latency_ms, count in self.times_ms.items()),
            min_ms=min(self.times_ms), max_ms=max(self.times_ms), errors=self.errors, row=row, region=region,
        )  # fmt: skip


def _locust_bucket(latency_ms: float) -> int:
    """Locust keeps two significant digits: 147 ms is shown as 150."""
    if latency_ms < 100:
        return round(latency_ms)
    return round(latency_ms, -1 if latency_ms < 1000 else -2 if latency_ms < 10_000 else -3).__trunc__()


def bucket_from_ms(bucket_ms: int) -> float:
    """The least time that is shown as this one."""
    if bucket_ms < 100:
        return max(0.0, bucket_ms - 0.5)
    return bucket_ms - (5 if bucket_ms < 1000 else 50 if bucket_ms < 10_000 else 500)


class LiveStats:
    """Gathers what ended between two looks; all of it is evidence for `row`."""

    def __init__(self, row: str = "") -> None:
        self._row = row
        self._gathered: dict[tuple[str, str, bool, str | None], _Gathering] = defaultdict(_Gathering)

    def add(
        self, method: str, name: str, latency_ms: float, error: str = "", count: int = 1, *, warmup: bool = False,
        region: str | None = None,
    ) -> None:  # fmt: skip
        """`count` operations ended, listed under `method` and `name`; `error` is empty if they succeeded."""
        self._gathered[method, name, warmup, region].add(latency_ms, error, count)

    def take(self) -> list[Stat]:
        """What ended since last asked for."""
        taken = [
            seen.stat(method, name, warmup=warmup, row=self._row, region=region)
            for (method, name, warmup, region), seen in self._gathered.items()
        ]
        self._gathered.clear()
        return taken

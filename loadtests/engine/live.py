"""What Locust shows while a load runs: counts and rounded times, handed on a few times a second.

Locust keeps response times in buckets of two significant digits; a true 104 ms reads 100 there. So these
figures are for the eye; verdicts read the histograms of `tally`.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

_MAX_ERROR_TEXTS = 10
_MAX_ERROR_CHARS = 100
"""A line must fit a pipe's atomic write of 4,096 bytes."""


class Stat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What happened to one kind of operation since the last such line, for Locust to add up."""

    name: str
    method: str
    response_times_ms: dict[int, int]
    """As Locust buckets them -> count, of those that were answered, ok or not."""
    total_ms: float
    min_ms: float
    max_ms: float
    errors: dict[str, int]


class _Gathering:
    """The gathering of one `Stat`."""

    def __init__(self) -> None:
        self.times: dict[int, int] = defaultdict(int)
        self.errors: dict[str, int] = defaultdict(int)
        self.total_ms = 0.0
        self.min_ms = float("inf")
        self.max_ms = 0.0

    def add(self, latency_ms: float, error: str, count: int) -> None:
        self.times[_locust_bucket(latency_ms)] += count
        self.total_ms += latency_ms * count
        self.min_ms = min(self.min_ms, latency_ms)
        self.max_ms = max(self.max_ms, latency_ms)
        if error:
            text = error[:_MAX_ERROR_CHARS]
            known = text in self.errors or len(self.errors) < _MAX_ERROR_TEXTS
            self.errors[text if known else "other"] += count


def _locust_bucket(latency_ms: float) -> int:
    """Locust keeps two significant digits: 147 ms is shown as 150."""
    if latency_ms < 100:
        return round(latency_ms)
    return round(latency_ms, -1 if latency_ms < 1000 else -2 if latency_ms < 10_000 else -3).__trunc__()


class LiveStats:
    """Gathers what ended between two looks."""

    def __init__(self) -> None:
        self._gathered: dict[tuple[str, str], _Gathering] = defaultdict(_Gathering)

    def add(self, method: str, name: str, latency_ms: float, error: str = "", count: int = 1) -> None:
        """`count` operations ended, listed under `method` and `name`; `error` is empty if they succeeded."""
        self._gathered[method, name].add(latency_ms, error, count)

    def take(self) -> list[Stat]:
        """What ended since last asked for."""
        taken = [
            Stat(
                name=name, method=method, response_times_ms=seen.times, total_ms=seen.total_ms,
                min_ms=seen.min_ms, max_ms=seen.max_ms, errors=seen.errors,
            )
            for (method, name), seen in self._gathered.items()
        ]  # fmt: skip
        self._gathered.clear()
        return taken

"""Token buckets: how often somebody may ask, with a burst.

The clock is the caller's, so that nothing here waits or reads one.
"""

from __future__ import annotations

BURST_MIN = 50.0


class Buckets:
    """A bucket for each key, at most `most` of them: then the one that was made first is given up, and its owner
    starts anew with a full one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buckets: dict[str, list[float]] = {}

    def take(self, key: str, rate_per_s: float, burst: float, now_s: float) -> float:
        """Take one token. 0.0 if there was one, else how many seconds it takes until there is."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._most:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = [burst, now_s]
        tokens = min(burst, bucket[0] + max(0.0, now_s - bucket[1]) * rate_per_s)
        bucket[1] = now_s
        if tokens >= 1.0:
            bucket[0] = tokens - 1.0
            return 0.0
        bucket[0] = tokens
        return (1.0 - tokens) / rate_per_s


def burst_of(rate_per_s: float) -> float:
    """One second's worth, and at least 50."""
    return max(BURST_MIN, rate_per_s)

"""Rate limits by token buckets. The caller passes the time, so that nothing here waits or reads a clock."""

from __future__ import annotations

BURST_MIN = 50.0


class Buckets:
    """A token bucket for each key, at most `most` of them. Beyond that the oldest bucket is dropped; its key starts
    again with a full one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buckets: dict[str, list[float]] = {}

    def take(self, key: str, rate_per_s: float, burst: float, now_s: float) -> float:
        """Take a token from the key's bucket. Returns 0.0, or the seconds until there is one."""
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
    """The burst for a rate: one second's worth, and at least BURST_MIN."""
    return max(BURST_MIN, rate_per_s)

"""Latencies by the hundred thousand: counted in a dictionary, and put into the histogram a few times a second.

Putting each into it by itself costs several times what reading its message does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from loadtests.recording.live import LiveStats
from reports.evidence import Latencies, Recorder

_EXACT_BITS = 11
"""A histogram of three digits tells values below 2,048 apart, and above as many steps in each doubling."""


class LatencyCounts:
    """A recorder's front; `settle` before the recorder is read."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self._counts: Counter[int] = Counter()

    def add(self, latencies_us: Iterable[int]) -> None:
        self._counts.update(latencies_us)

    def settle(self, live: LiveStats | None = None) -> None:
        """Put what has gathered into the histogram, and show it."""
        steps: Counter[int] = Counter()
        for latency_us, count in self._counts.items():
            step = 1 << max(0, latency_us.bit_length() - _EXACT_BITS)
            steps[latency_us if latency_us < 0 else latency_us // step * step] += count
        self._counts.clear()
        for latency_us, count in steps.items():
            self.recorder.record_us(latency_us, count)
            if live is not None:
                live.add("SUB", "deliver", latency_us / 1000, count=count)

    def close(self) -> Latencies:
        self.settle()
        return self.recorder.close()

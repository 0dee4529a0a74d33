"""When a load may be ended early: as soon as a gate can no longer hold, whatever still follows.

Pure. It must never end a load whose gate could still hold, so it counts too little rather than too much: of the rounded
times that engines report on their way, only those whose whole bucket lies beyond the gate, and as operations that are
still to come, all that the engines have planned.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from loadtests.recording.live import Stat, bucket_from_ms

PERCENT = 99.0
"""The percentile that rows of latency are judged by."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A row's p99 has to be below (or at) a bound, judged on at least so many operations."""

    row: str
    """Without its region."""
    region: str | None
    limit_ms: float
    minimum: int


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """How many operations of a row an engine will measure in a region, at most."""

    row: str
    region: str | None
    operations: int


def allowed(operations: int) -> int:
    """How many of so many operations may be beyond a bound, and the p99 is not."""
    return operations - max(1, math.ceil(round(PERCENT * operations / 100, 6)))


class EarlyEnd:
    """Adds up what engines report of one load, and says when a gate can no longer hold."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._gates = gates
        self._planned: Counter[tuple[str, str | None]] = Counter()
        self._ended: Counter[tuple[str, str | None]] = Counter()
        self._failed: Counter[tuple[str, str | None]] = Counter()
        self._beyond: Counter[Gate] = Counter()

    def plan(self, planned: Iterable[Planned]) -> None:
        """An engine's plans; all engines' have to be known before the first operation ends."""
        for each in planned:
            self._planned[each.row, each.region] += each.operations

    def add(self, stat: Stat) -> str | None:
        """Take in a report; why no remaining operation can save a gate, None as long as some could."""
        key = (stat.row, stat.region)
        if stat.warmup or key not in self._planned:
            return None
        self._ended[key] += sum(stat.response_times_ms.values())
        self._failed[key] += sum(stat.errors.values())
        for gate in self._gates:
            if (gate.row, gate.region) == key:
                for bucket_ms, count in stat.response_times_ms.items():
                    self._beyond[gate] += count if bucket_from_ms(bucket_ms) > gate.limit_ms else 0
                if why := self._hopeless(gate):
                    return why
        return None

    def _hopeless(self, gate: Gate) -> str | None:
        key = (gate.row, gate.region)
        # An operation that failed late is in both counts: the larger one is what is certain.
        bad, may = max(self._beyond[gate], self._failed[key]), allowed(self._planned[key])
        if bad <= may or self._ended[key] < gate.minimum:
            return None
        where = gate.row if gate.region is None else f"{gate.row}.{gate.region}"
        return (
            f"{where}: {bad:,} operations failed or took more than {gate.limit_ms:g} ms, and of all "
            f"{self._planned[key]:,} that were planned {may:,} may"
        )

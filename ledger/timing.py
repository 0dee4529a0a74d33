"""When the events of a load had taken effect, from positions that were watched while it ran. Pure.

A consumer's position in a partition only goes up, and says that everything up to it is applied. So a few looks a second
tell the instant of every event: that of the first look at which all consumers have reached it, which is late by the
distance of two looks at most, and never early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ledger.numbered import NumberedEvent, NumberedEvents
from reports.evidence import Recorder


class PositionHistory:
    """How a position went up: what was seen at which instant (ns), put in in any order."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def add(self, at_ns: int, position: int) -> None:
        self._seen[at_ns] = max(position, self._seen.get(at_ns, 0))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(instant, position), each higher than the one before."""
        highest = -1
        for at_ns in sorted(self._seen):
            if self._seen[at_ns] > highest:
                highest = self._seen[at_ns]
                yield at_ns, highest

    @property
    def last(self) -> int:
        return max(self._seen.values(), default=0)

    def at(self, at_ns: int) -> int:
        """The position at that instant, as far as it was seen."""
        return max((position for seen_ns, position in self._seen.items() if seen_ns <= at_ns), default=0)


def reached_by_all(histories: Sequence[PositionHistory]) -> PositionHistory:
    """The position that all of them have reached; none if one was never seen."""
    moves = sorted((at_ns, which, position) for which, history in enumerate(histories) for at_ns, position in history)
    reached: dict[int, int] = {}
    found, lowest = PositionHistory(), -1
    for at_ns, which, position in moves:
        reached[which] = position
        if len(reached) == len(histories) and min(reached.values()) > lowest:
            lowest = min(reached.values())
            found.add(at_ns, lowest)
    return found


class Timed(NamedTuple):
    """What became of the events of the measured window."""

    completed: int
    """Reached by all at the instant that counts."""
    never: int
    """Not reached at all."""


def time_all(
    events: Iterable[NumberedEvent], history: PositionHistory, intended_ns: Callable[[NumberedEvent], int],
    window: tuple[int, int], by_ns: int, recorder: Recorder,
) -> Timed:  # fmt: skip
    """Record how long after its intended instant each event that was intended in `window` was reached; `by_ns` is until
    when it counts as completed. Instants of one clock, in ns. `events` by rising position."""
    moves = list(history)
    at = completed = never = 0
    pending: tuple[int, int] | None = None
    for event in events:
        intended = intended_ns(event)
        if not window[0] <= intended < window[1]:
            continue
        while at < len(moves) and moves[at][1] < event.position:
            at += 1
        if at == len(moves):
            never += 1
            continue
        reached_ns = moves[at][0]
        completed += reached_ns <= by_ns
        latency_us = (reached_ns - intended) // 1000
        # Whole batches share both instants, and recording one by one would take longer than all the rest.
        if pending is not None and pending[0] == latency_us:
            pending = latency_us, pending[1] + 1
            continue
        if pending is not None:
            recorder.record_us(*pending)
        pending = latency_us, 1
    if pending is not None:
        recorder.record_us(*pending)
    recorder.failed += never
    return Timed(completed, never)


class Drained(NamedTuple):
    """How a backlog went."""

    waiting: int
    """Not reached when it was looked at first."""
    left: int
    """Not reached at the end."""
    until_ns: int
    """When the last was reached, or the end if any are left."""

    def per_s(self, from_ns: int) -> float:
        """How many were reached in a second, on average."""
        return (self.waiting - self.left) / ((self.until_ns - from_ns) / 1e9) if self.until_ns > from_ns else 0.0


def drained(partitions: Iterable[tuple[NumberedEvents, PositionHistory]], from_ns: int, end_ns: int) -> Drained:
    """What became between two instants of the events that were not reached at the first one."""
    waiting = left = 0
    until_ns = from_ns
    for events, history in partitions:
        waiting += len(events) - events.up_to(history.at(from_ns))
        left += len(events) - events.up_to(history.at(end_ns))
        last = events.positions[-1] if len(events) else 0
        until_ns = max(until_ns, next((at_ns for at_ns, position in history if position >= last), 0))
    return Drained(waiting, left, end_ns if left else min(until_ns, end_ns))

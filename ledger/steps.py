"""When events had taken effect at every consumer, and which of them at which: pure, over what watching has collected.

A consumer's position in a partition only goes up, and says that everything up to it is applied. So a few looks a second
tell the instant of every event: that of the first look at which all consumers have reached it, which is late by the
distance of two looks at most, and never early.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from reports.evidence import Recorder

Ranges = Iterable[tuple[int, int]]
"""(first, last), both included, in any order."""
NUMBER_MAX = 5_000_000
"""Events of one publisher that are accounted for: a byte each for every consumer, one after the other."""


class Steps:
    """How a position went up: what was seen at which instant, in any order."""

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


def together(sources: Sequence[Steps]) -> Steps:
    """The position that all of them have reached; none if one was never seen."""
    moves = sorted((at_ns, which, position) for which, steps in enumerate(sources) for at_ns, position in steps)
    reached: dict[int, int] = {}
    found, lowest = Steps(), -1
    for at_ns, which, position in moves:
        reached[which] = position
        if len(reached) == len(sources) and min(reached.values()) > lowest:
            lowest = min(reached.values())
            found.add(at_ns, lowest)
    return found


class Event(NamedTuple):
    """An event of a load: where it stands in its partition, who sent it, and as which."""

    position: int
    publisher: int
    number: int


class Events:
    """The events of one partition, put in by rising position."""

    def __init__(self) -> None:
        self.positions = array("q")
        self._publishers = array("H")
        self._numbers = array("q")

    def add(self, event: Event) -> None:
        self.positions.append(event.position)
        self._publishers.append(event.publisher)
        self._numbers.append(event.number)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Event]:
        return map(Event, self.positions, self._publishers, self._numbers)

    def up_to(self, position: int) -> int:
        """How many of them stand at or before this position."""
        return bisect_right(self.positions, position)

    def within(self, ranges: Ranges) -> Iterator[Event]:
        """Those whose positions lie in these ranges, each once."""
        at = 0
        for first, last in sorted(ranges):
            at = max(at, bisect_right(self.positions, first - 1))
            while at < len(self.positions) and self.positions[at] <= last:
                yield Event(self.positions[at], self._publishers[at], self._numbers[at])
                at += 1


class Timed(NamedTuple):
    """What became of the events of the measured window."""

    completed: int
    """Reached by everyone at the instant that counts."""
    never: int
    """Not reached at all."""


def time_all(
    events: Iterable[Event], steps: Steps, intended_ns: Callable[[Event], int], window: tuple[int, int], by_ns: int,
    recorder: Recorder,
) -> Timed:  # fmt: skip
    """Record how long after its intended instant each event that was intended in `window` was reached; `by_ns` is until
    when it counts as completed. Instants of one clock, in ns. `events` by rising position."""
    moves = list(steps)
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


def drained(partitions: Iterable[tuple[Events, Steps]], from_ns: int, end_ns: int) -> Drained:
    """What became between two instants of the events that were not reached at the first one."""
    waiting = left = 0
    until_ns = from_ns
    for events, steps in partitions:
        waiting += len(events) - events.up_to(steps.at(from_ns))
        left += len(events) - events.up_to(steps.at(end_ns))
        last = events.positions[-1] if len(events) else 0
        until_ns = max(until_ns, next((at_ns for at_ns, position in steps if position >= last), 0))
    return Drained(waiting, left, end_ns if left else min(until_ns, end_ns))


def overlaps(ranges: Ranges) -> list[tuple[int, int]]:
    """What is in more than one of the ranges."""
    found: list[tuple[int, int]] = []
    last = None
    for first, end in sorted(ranges):
        if last is not None and first <= last:
            found.append((first, min(last, end)))
        last = end if last is None else max(last, end)
    return found


def spans(events: Mapping[str, Events], ranges: Mapping[str, Ranges]) -> list[tuple[int, int, int]]:
    """The numbers of the events that lie in these ranges of their partitions: (publisher, first, last)."""
    flags: dict[int, bytearray] = {}
    for partition, of_partition in events.items():
        for event in of_partition.within(ranges.get(partition, ())):
            own = flags.setdefault(event.publisher, bytearray())
            if event.number >= len(own):
                own.extend(bytes(event.number + 1 - len(own)))
            own[event.number] = 1
    return [(publisher, first, last) for publisher, own in sorted(flags.items()) for first, last in _runs(own)]


def _runs(flags: bytearray) -> Iterator[tuple[int, int]]:
    at = flags.find(1)
    while at >= 0:
        end = flags.find(0, at)
        end = len(flags) if end < 0 else end
        yield at, end - 1
        at = flags.find(1, end)


def sender_prefix(prefix: str, publisher: int) -> str:
    """What the ids of one publisher's events begin with; `prefix` is the load's, 19 characters of a UUID."""
    return f"{prefix}{publisher:04x}-"


def event_of(identity: str, position: int) -> Event:
    """An event is about a project that there is not: in its id stand publisher and number."""
    publisher, number = identity.split("-")[-2:]
    return Event(position, int(publisher, 16), int(number, 16))

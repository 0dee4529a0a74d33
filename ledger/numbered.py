"""The events of a load, which are millions: an event is known by its sender and its number, in a few bytes each. Pure.

Each is about a project that is not there, in whose id sender and number stand: so they are found again wherever the
event is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from reports.evidence.range_set import Range

NUMBER_MAX = 5_000_000
"""Events of one sender that are accounted for: a byte each for every consumer, one after the other."""


class NumberedEvent(NamedTuple):
    """Where an event of a load stands in its partition, which publisher sent it, and as which."""

    position: int
    publisher: int
    number: int


class NumberedEvents:
    """The events of one partition, put in by rising position."""

    def __init__(self) -> None:
        self.positions = array("q")
        self._publishers = array("H")
        self._numbers = array("q")

    def add(self, event: NumberedEvent) -> None:
        self.positions.append(event.position)
        self._publishers.append(event.publisher)
        self._numbers.append(event.number)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[NumberedEvent]:
        return map(NumberedEvent, self.positions, self._publishers, self._numbers)

    def up_to(self, position: int) -> int:
        """How many of them stand at or before this position."""
        return bisect_right(self.positions, position)

    def within(self, ranges: Iterable[Range]) -> Iterator[NumberedEvent]:
        """Those whose positions lie in these ranges, each once."""
        at = 0
        for first, last in sorted(ranges):
            at = max(at, bisect_right(self.positions, first - 1))
            while at < len(self.positions) and self.positions[at] <= last:
                yield NumberedEvent(self.positions[at], self._publishers[at], self._numbers[at])
                at += 1


def sender_prefix(prefix: str, publisher: int) -> str:
    """What the ids of one publisher's events begin with; `prefix` is the load's, 19 characters of a UUID."""
    return f"{prefix}{publisher:04x}-"


def event_of(identity: str, position: int) -> NumberedEvent:
    """The event about the project of this id."""
    publisher, number = identity.split("-")[-2:]
    return NumberedEvent(position, int(publisher, 16), int(number, 16))


def spans(
    events: Mapping[str, NumberedEvents], ranges: Mapping[str, Iterable[Range]]
) -> list[tuple[int, int, int]]:  # fmt: skip
    """The numbers of the events that lie in these ranges of their partitions: (publisher, first, last)."""
    flags: dict[int, bytearray] = {}
    for partition, of_partition in events.items():
        for event in of_partition.within(ranges.get(partition, ())):
            own = flags.setdefault(event.publisher, bytearray())
            if event.number >= len(own):
                own.extend(bytes(event.number + 1 - len(own)))
            own[event.number] = 1
    return [(publisher, first, last) for publisher, own in sorted(flags.items()) for first, last in _runs(own)]


def _runs(flags: bytearray) -> Iterator[Range]:
    at = flags.find(1)
    while at >= 0:
        end = flags.find(0, at)
        end = len(flags) if end < 0 else end
        yield at, end - 1
        at = flags.find(1, end)

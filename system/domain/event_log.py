"""The last events that a process of the API has heard of, and where each subscriber stands in them.

Events of all partitions stand in one row, in the order in which they were heard; within a partition that is the
order of their positions, without gaps. So a subscriber that keeps up is a number in the row and no more, and what
it is sent is the same bytes for everybody. One that comes back names its position in each partition: a Cursor says
what it lacks from before the row begins, then passes over what it has, until it keeps up.

Nothing here waits or reads: it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from system.wire import Aggregate, event_positions

_POSITION_MAX = 2**53
"""Beyond it Lua and JavaScript cannot count."""


class Entry(NamedTuple):
    """An event in the row: `text` is what a subscriber is sent of it, without the id; `mark` is the id that it has
    for all who keep up."""

    partition: str
    position: int
    text: bytes
    mark: bytes


class Behind(NamedTuple):
    """A subscriber lacks the events of a partition from after `position` up to `until`, from before the row."""

    partition: str
    position: int
    until: int


def parse_positions(text: str, partitions: Collection[str]) -> dict[str, int]:
    """What `wire.event_positions` made of positions. ValueError for anything else, and for other partitions."""
    positions: dict[str, int] = {}
    for part in text.split(",") if text else ():
        partition, _, digits = part.partition(":")
        if partition not in partitions or partition in positions:
            raise ValueError(f"expected each partition once, like countries.0:3,projects.2:17, found {part[:40]!r}")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 16 or int(digits) > _POSITION_MAX:
            raise ValueError(f"expected a position after {partition}, found {digits[:40]!r}")
        positions[partition] = int(digits)
    return positions


def aggregate_of(partition: str) -> str:
    """`projects.2` is one of `projects`."""
    return partition.partition(".")[0]


def block(text: bytes, mark: bytes) -> bytes:
    """An event of a stream of server-sent events (HTML Living Standard, section 9.2.6)."""
    return b"%sid: %s\n\n" % (text, mark)


class EventLog:
    """The row, at most `entries_max` events and about `bytes_max` bytes of it."""

    def __init__(self, positions: Mapping[str, int], entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.start = 0
        """The number of the first event in the row; numbers go on when it is forgotten."""
        self.before = dict(positions)
        """The position in each partition before the first event in the row."""
        self.positions = dict(positions)
        """The position in each partition after the last one."""
        self.mark = _mark(self.positions)

    @property
    def end(self) -> int:
        """The number that the next event gets."""
        return self.start + len(self._entries)

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number - self.start]

    def append(self, partition: str, position: int, text: bytes) -> None:
        """Add the next event of a partition. ValueError if it is another one."""
        if position != self.positions[partition] + 1:
            raise ValueError(f"{partition}: expected position {self.positions[partition] + 1}, found {position}")
        self.positions[partition] = position
        self.mark = _mark(self.positions)
        self._entries.append(Entry(partition, position, text, self.mark))
        self._bytes += len(text) + len(self.mark)
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            self._forget_first()

    def pass_over(self, partition: str, position: int) -> None:
        """Move a partition on without its events, which are too many: whoever wants them reads them elsewhere."""
        while self._entries:
            self._forget_first()
        # A number that no event had: whoever kept up so far is behind now, and looks at its mark.
        self.start += 1
        self.before[partition] = self.positions[partition] = position
        self.mark = _mark(self.positions)

    def _forget_first(self) -> None:
        first = self._entries.popleft()
        self._bytes -= len(first.text) + len(first.mark)
        self.before[first.partition] = first.position
        self.start += 1


class Cursor:
    """Where a subscriber to some aggregates stands: it has everything up to its `positions`, of the others too."""

    __slots__ = ("_aggregates", "_log", "_mark", "_number", "_own")

    def __init__(self, log: EventLog, aggregates: Collection[Aggregate], positions: Mapping[str, int] | None) -> None:
        """From now on, or from these positions."""
        self._log = log
        self._aggregates = aggregates
        self._number = log.end if positions is None else log.start
        self._mark = log.mark
        # While they differ from those in the row; a partition that is not named is at 0.
        self._own: dict[str, int] | None = None
        if positions is not None:
            self._own = dict.fromkeys(log.positions, 0) | dict(positions)

    @property
    def mark(self) -> bytes:
        """The subscriber's positions, as it would come back with them."""
        return self._mark if self._own is None else _mark(self._own)

    def ahead(self) -> dict[str, int]:
        """Positions that this process has not heard of yet."""
        own = self._own or {}
        return {name: position for name, position in own.items() if position > self._log.positions[name]}

    def behind(self) -> Behind | None:
        """What the row does not hold any more for this subscriber: something to be read elsewhere, if anything."""
        if self._number >= self._log.start and self._own is None:
            return None
        own = self._own = self._positions()
        for partition, until in self._log.before.items():
            if own[partition] < until:
                if aggregate_of(partition) in self._aggregates:
                    return Behind(partition, own[partition], until)
                own[partition] = until
        if self._number < self._log.start:
            self._number = self._log.start
        return None

    def pass_on(self, partition: str, position: int, text: bytes) -> bytes:
        """The bytes of an event that was read elsewhere; it must be the next one of its partition. ValueError."""
        own = self._own = self._positions()
        if position != own[partition] + 1:
            raise ValueError(f"{partition}: expected position {own[partition] + 1}, found {position}")
        own[partition] = position
        return block(text, _mark(own))

    def take(self, bytes_max: int) -> list[bytes]:
        """The next events in the row, as `pass_on` gives them, until they are `bytes_max` or more; none if there are
        no more. Only when nothing is `behind`."""
        parts: list[bytes] = []
        size = 0
        while self._number < self._log.end and size < bytes_max:
            entry = self._log[self._number]
            self._number += 1
            if (mark := self._pass(entry)) is not None and aggregate_of(entry.partition) in self._aggregates:
                parts.append(block(entry.text, mark))
                size += len(parts[-1])
        if self._number == self._log.end and self._own == self._log.positions:
            self._own = None
            self._mark = self._log.mark
        return parts

    def _pass(self, entry: Entry) -> bytes | None:
        """The subscriber's mark after this event; None if it had it before."""
        if self._own is None:
            self._mark = entry.mark
            return entry.mark
        if entry.position <= self._own[entry.partition]:
            return None
        self._own[entry.partition] = entry.position
        return _mark(self._own)

    def _positions(self) -> dict[str, int]:
        if self._own is not None:
            return self._own
        return dict.fromkeys(self._log.positions, 0) | parse_positions(self._mark.decode(), self._log.positions)


def _mark(positions: Mapping[str, int]) -> bytes:
    return event_positions(dict(positions)).encode()

"""An in-memory log of the latest events of an API process, and a cursor into it for each subscriber.

The log holds the events of all partitions in the order of arrival; within a partition that is the order of positions,
without gaps. So a subscriber that keeps up is an index into the log, and all such subscribers are sent the same bytes.
A subscriber that reconnects names its position in each partition. Its Cursor first says which events it lacks from
before the log's start, then skips the logged events that it has, until it keeps up, too.

This module neither waits nor reads: its callers do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from system.wire import Aggregate, event_positions

_POSITION_MAX = 2**53
"""The largest integer that Lua and JavaScript represent exactly."""


class Entry(NamedTuple):
    """An event in the log. `text` is its server-sent event without the id; `mark` is the id for subscribers that keep
    up: the position in each partition after this event."""

    partition: str
    position: int
    text: bytes
    mark: bytes


class Behind(NamedTuple):
    """A subscriber lacks the events of a partition after `position` up to `until`, which the log does not hold."""

    partition: str
    position: int
    until: int


def parse_positions(text: str, partitions: Collection[str]) -> dict[str, int]:
    """The inverse of `wire.event_positions`. ValueError for any other text, and for unknown partitions."""
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
    """The aggregate of a partition: `projects` for `projects.2`."""
    return partition.partition(".")[0]


def block(text: bytes, mark: bytes) -> bytes:
    """A server-sent event with its id (HTML Living Standard, section 9.2.6)."""
    return b"%sid: %s\n\n" % (text, mark)


class EventLog:
    """The log: at most `entries_max` events and about `bytes_max` bytes; the oldest events are dropped."""

    def __init__(self, positions: Mapping[str, int], entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.start = 0
        """The number of the first event in the log. Numbers do not change when older events are dropped."""
        self.before = dict(positions)
        """The position in each partition before the first event in the log."""
        self.positions = dict(positions)
        """The position in each partition after the last event."""
        self.mark = _mark(self.positions)

    @property
    def end(self) -> int:
        """The number of the next event."""
        return self.start + len(self._entries)

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number - self.start]

    def append(self, partition: str, position: int, text: bytes) -> None:
        """Append the next event of a partition. ValueError if `position` is not the next one."""
        if position != self.positions[partition] + 1:
            raise ValueError(f"{partition}: expected position {self.positions[partition] + 1}, found {position}")
        self.positions[partition] = position
        self.mark = _mark(self.positions)
        self._entries.append(Entry(partition, position, text, self.mark))
        self._bytes += len(text) + len(self.mark)
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            self._drop_first()

    def pass_over(self, partition: str, position: int) -> None:
        """Advance a partition without its events, which are too many. Subscribers read them from elsewhere."""
        while self._entries:
            self._drop_first()
        # Skip a number, so that a cursor that kept up is behind now and looks at its positions.
        self.start += 1
        self.before[partition] = self.positions[partition] = position
        self.mark = _mark(self.positions)

    def _drop_first(self) -> None:
        first = self._entries.popleft()
        self._bytes -= len(first.text) + len(first.mark)
        self.before[first.partition] = first.position
        self.start += 1


class Cursor:
    """A subscriber's place in the log. It has all events up to its positions; events of aggregates that it did not
    subscribe to count as had."""

    __slots__ = ("_aggregates", "_log", "_mark", "_number", "_own")

    def __init__(self, log: EventLog, aggregates: Collection[Aggregate], positions: Mapping[str, int] | None) -> None:
        """Starts after `positions`; None: at the end of the log."""
        self._log = log
        self._aggregates = aggregates
        self._number = log.end if positions is None else log.start
        self._mark = log.mark
        # Its own positions, as long as they differ from the log's; a partition that is not named is at 0.
        self._own: dict[str, int] | None = None
        if positions is not None:
            self._own = dict.fromkeys(log.positions, 0) | dict(positions)

    @property
    def mark(self) -> bytes:
        """The subscriber's positions, as the id with which it can reconnect."""
        return self._mark if self._own is None else _mark(self._own)

    def ahead(self) -> dict[str, int]:
        """The subscriber's positions that are beyond the log's."""
        own = self._own or {}
        return {name: position for name, position in own.items() if position > self._log.positions[name]}

    def behind(self) -> Behind | None:
        """The next range of events that this subscriber lacks and the log does not hold; None if there is none."""
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
        """The bytes of an event that was read elsewhere. ValueError if it is not the next one of its partition."""
        own = self._own = self._positions()
        if position != own[partition] + 1:
            raise ValueError(f"{partition}: expected position {own[partition] + 1}, found {position}")
        own[partition] = position
        return block(text, _mark(own))

    def take(self, bytes_max: int) -> list[bytes]:
        """The next events in the log, as bytes for the subscriber, until they are `bytes_max` or more. Call it only if
        `behind` is None."""
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
        """The subscriber's mark after this event; None if it already had the event."""
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

"""Events as they travel: a message on a stream is a frame, a JSON array of events of one partition with positions
that follow on one another.

At a low rate a frame holds one event, in a catch-up hundreds: what a message costs at the broker and in the
clients is then shared by all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from system.wire import (
    EVENT_KINDS,
    EVENTS_A_MESSAGE_MAX,
    MESSAGE_BYTES_MAX,
    Aggregate,
    Event,
    event_subject,
    partitions_of,
)

_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode


class EncodedEvent(NamedTuple):
    """An event as JSON, and what is needed of it to put it into a message."""

    partition: str
    position: int
    id: str
    data: bytes
    batch: str = ""
    """What got its position at the same time. Frames keep to it, so that events which are published again, maybe with
    later ones behind them, are in the same messages as before, and the stream knows them again."""


class Fault(msgspec.Struct, frozen=True):
    """What could not be read: a whole message, or one of its events. `partition` is empty and the positions are
    None if it does not even tell where it belongs: then it is none of ours."""

    partition: str
    first: int | None
    last: int | None
    reason: str
    payload: bytes


class Opened(NamedTuple):
    """What was in a message."""

    events: list[Event]
    faults: list[Fault]


def cut(events: Iterable[EncodedEvent]) -> list[list[EncodedEvent]]:
    """Events into frames: each of one partition and batch, positions following on, within the limits of the wire. Each
    partition's events stay in their order; an event that is larger than a frame has one to itself."""
    frames: list[list[EncodedEvent]] = []
    open_: dict[str, tuple[list[EncodedEvent], int]] = {}
    for event in events:
        frame, size = open_.get(event.partition, ([], 0))
        size += len(event.data) + 1
        follows = frame and frame[-1].position + 1 == event.position and frame[-1].batch == event.batch
        if not follows or len(frame) == EVENTS_A_MESSAGE_MAX or size >= MESSAGE_BYTES_MAX:
            frame, size = [], len(event.data) + 1
            frames.append(frame)
        frame.append(event)
        open_[event.partition] = (frame, size)
    return frames


def payload(frame: Sequence[EncodedEvent]) -> bytes:
    """The message that carries these events."""
    return b"[" + b",".join([event.data for event in frame]) + b"]"


def span(positions: str | None) -> tuple[int, int] | None:
    """`3-17`, as POSITIONS_HEADER holds it; None if it is missing or says something else."""
    first, dash, last = (positions or "").partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last)):
        return None
    return int(first), int(last)


class Opener:
    """Reads the messages of an aggregate."""

    def __init__(self, aggregate: Aggregate) -> None:
        kind = EVENT_KINDS[aggregate]
        self._all = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(kind).decode
        self._partitions = {event_subject(name): name for name in partitions_of(aggregate)}

    def open(self, subject: str, positions: str | None, data: bytes) -> Opened:
        """The events of a message, and what could not be read: single events as far as the others can be told
        from them, else all of it. `positions` is its POSITIONS_HEADER."""
        partition = self._partitions.get(subject, "")
        try:
            events: list[Event] = self._all(data)
            _check(partition, span(positions), events)
        except msgspec.MsgspecError as error:
            return self._open_singly(partition, span(positions), data, str(error))
        return Opened(events, [])

    def event(self, data: bytes) -> Event:
        """One event. msgspec.MsgspecError if it is none."""
        event: Event = self._one(data)
        return event

    def _open_singly(self, partition: str, told: tuple[int, int] | None, data: bytes, reason: str) -> Opened:
        if not partition or told is None:
            return Opened([], [Fault("", None, None, reason, data)])
        first, last = told
        whole = Opened([], [Fault(partition, first, last, reason, data)])
        try:
            parts = _raw(data)
        except msgspec.MsgspecError:
            return whole
        if len(parts) != last - first + 1:
            return whole
        opened = Opened([], [])
        for position, part in enumerate(parts, first):
            try:
                event = self.event(bytes(part))
                _check(partition, (position, position), [event])
                opened.events.append(event)
            except msgspec.MsgspecError as error:
                opened.faults.append(Fault(partition, position, position, str(error), bytes(part)))
        return opened


def part_of(data: bytes, first: int, position: int) -> bytes:
    """The JSON of one event of a readable message whose first event has position `first`."""
    return bytes(_raw(data)[position - first])


def _check(partition: str, told: tuple[int, int] | None, events: Sequence[Event]) -> None:
    """msgspec.ValidationError if the events are not what the message's subject and header say."""
    if not events:
        raise msgspec.ValidationError("expected at least one event, found none")
    first, last = events[0], events[-1]
    found = (first.position, last.position)
    if not (first.partition == last.partition == partition) or last.position - first.position + 1 != len(events):
        raise msgspec.ValidationError(
            f"expected events of {partition or 'a partition'} that follow on one another, "
            f"found {len(events)}, {first.partition} {first.position} to {last.partition} {last.position}"
        )
    if told is not None and told != found:
        raise msgspec.ValidationError(f"expected positions {told[0]}-{told[1]}, found {found[0]}-{found[1]}")

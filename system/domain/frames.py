"""The messages on the streams. A message is a frame: a JSON array of events of one partition with consecutive
positions.

At a low rate a frame holds one event, in a catch-up hundreds, which share the cost of a message at the broker and in
the clients.
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
    """An event as JSON, with the fields that framing needs."""

    partition: str
    position: int
    id: str
    data: bytes
    batch: str = ""
    """The transaction that assigned the position. A frame holds events of one batch only: so events that are published
    again, perhaps with later ones, are in the same messages as before, and the stream drops those as duplicates."""


class Fault(msgspec.Struct, frozen=True):
    """A message, or an event in one, that could not be decoded or applied. `partition` is empty and the positions are
    None if they are unknown, too: then the message is not the relay's."""

    partition: str
    first: int | None
    last: int | None
    reason: str
    payload: bytes


class Opened(NamedTuple):
    """The content of a message."""

    events: list[Event]
    faults: list[Fault]


def cut(events: Iterable[EncodedEvent]) -> list[list[EncodedEvent]]:
    """Cut events into frames, each of one partition and batch, with consecutive positions, within the limits of the
    wire. Each partition's events keep their order. An event that exceeds the size limit has a frame to itself."""
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
    """The payload of the message for a frame."""
    return b"[" + b",".join([event.data for event in frame]) + b"]"


def span(positions: str | None) -> tuple[int, int] | None:
    """(3, 17) from `3-17`, the text of a POSITIONS_HEADER; None if it is missing or malformed."""
    first, dash, last = (positions or "").partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last)):
        return None
    return int(first), int(last)


class Opener:
    """Decodes the messages of an aggregate's stream."""

    def __init__(self, aggregate: Aggregate) -> None:
        kind = EVENT_KINDS[aggregate]
        self._all = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(kind).decode
        self._partitions = {event_subject(name): name for name in partitions_of(aggregate)}

    def open(self, subject: str, positions: str | None, data: bytes) -> Opened:
        """Decode a message. If some events are faulty and the others can still be identified, the faults are of single
        events; otherwise there is one fault of the whole message. `positions` is its POSITIONS_HEADER."""
        partition = self._partitions.get(subject, "")
        try:
            events: list[Event] = self._all(data)
            _check(partition, span(positions), events)
        except msgspec.MsgspecError as error:
            return self._open_singly(partition, span(positions), data, str(error))
        return Opened(events, [])

    def event(self, data: bytes) -> Event:
        """Decode one event. msgspec.MsgspecError if it is invalid."""
        event: Event = self._one(data)
        return event

    def _open_singly(self, partition: str, stated: tuple[int, int] | None, data: bytes, reason: str) -> Opened:
        if not partition or stated is None:
            return Opened([], [Fault("", None, None, reason, data)])
        first, last = stated
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
    """The JSON of the event at `position` in a valid message whose first event has position `first`."""
    return bytes(_raw(data)[position - first])


def _check(partition: str, stated: tuple[int, int] | None, events: Sequence[Event]) -> None:
    """msgspec.ValidationError if the events contradict the message's subject or header."""
    if not events:
        raise msgspec.ValidationError("expected at least one event, found none")
    first, last = events[0], events[-1]
    found = (first.position, last.position)
    if not (first.partition == last.partition == partition) or last.position - first.position + 1 != len(events):
        raise msgspec.ValidationError(
            f"expected events of {partition or 'a partition'} that follow on one another, "
            f"found {len(events)}, {first.partition} {first.position} to {last.partition} {last.position}"
        )
    if stated is not None and stated != found:
        raise msgspec.ValidationError(f"expected positions {stated[0]}-{stated[1]}, found {found[0]}-{found[1]}")

"""The payload of a load message: its sender, its number, and when it was meant to be sent.

Fixed width and binary, so that hundreds of them are written by one format and read by one cast: 100,000 messages a
second are made and read beside the servers under test. A frame holds many events in one message, each with its own
number. The intended instant is CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import struct

_HEAD = struct.Struct("<4sIQQ")
_MAGIC = b"cvn1"
_FRAME = struct.Struct("<4sIQII")
_FRAME_MAGIC = b"cvf1"
_NUMBER_BYTES = 8

MIN_PAYLOAD_BYTES = _HEAD.size
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
FRAME_HEAD_BYTES = _FRAME.size
MIN_EVENT_BYTES = _NUMBER_BYTES


def check_payload_bytes(size: int) -> int:
    if not MIN_PAYLOAD_BYTES <= size <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload: expected {MIN_PAYLOAD_BYTES} to {MAX_PAYLOAD_BYTES:,} bytes, found {size}")
    return size


def check_event_bytes(size: int) -> int:
    """An event's number can be read in place only if every event begins at a multiple of it."""
    if not MIN_EVENT_BYTES <= size <= 65_536 or size % _NUMBER_BYTES:
        raise ValueError(f"event: expected a multiple of {_NUMBER_BYTES} bytes, at most 65,536; found {size}")
    return size


def head(publisher: int, number: int, intended_ns: int) -> bytes:
    """The first MIN_PAYLOAD_BYTES of a payload; what follows is padding."""
    return _HEAD.pack(_MAGIC, publisher, number, intended_ns)


def around(publisher: int, intended_ns: int) -> tuple[bytes, bytes]:
    """What stands before and behind the number in the head of every message of a run."""
    whole = head(publisher, 0, intended_ns)
    return whole[:8], whole[16:]


number_bytes = struct.Struct("<Q").pack
"""A number as it stands in a head."""


def read(payload: bytes) -> tuple[int, int, int] | None:
    """(publisher, number, intended_ns), None if it is no load message."""
    if len(payload) < _HEAD.size:
        return None
    magic, publisher, number, intended_ns = _HEAD.unpack_from(payload)
    return (publisher, number, intended_ns) if magic == _MAGIC else None


def read_heads(heads: bytes) -> tuple[list[int], list[int], list[int]]:
    """(publishers, numbers, intended_ns) of heads without anything between them; publisher -1 where it is none."""
    words = memoryview(heads).cast("Q")
    marks = words[0::3].tolist()
    known = {mark: _publisher(mark) for mark in set(marks)}
    return [known[mark] for mark in marks], words[1::3].tolist(), words[2::3].tolist()


def _publisher(mark: int) -> int:
    magic, publisher = struct.unpack("<4sI", struct.pack("<Q", mark))
    return int(publisher) if magic == _MAGIC else -1


def frame(publisher: int, first: int, end: int, intended_ns: int, event_bytes: int) -> bytes:
    """Events `first` ... `end` - 1 as one payload: a head, then `event_bytes` an event, its number first."""
    count = end - first
    words = event_bytes // _NUMBER_BYTES
    body = memoryview(bytearray(b"." * (count * event_bytes))).cast("Q")
    body[0::words] = memoryview(struct.pack(f"<{count}Q", *range(first, end))).cast("Q")
    return _FRAME.pack(_FRAME_MAGIC, publisher, intended_ns, count, event_bytes) + body.cast("B")


def read_frame(payload: bytes) -> tuple[int, int, list[int]] | None:
    """(publisher, intended_ns, the number of every event in it), None if it is no frame, or not a whole one."""
    if len(payload) < _FRAME.size:
        return None
    magic, publisher, intended_ns, count, event_bytes = _FRAME.unpack_from(payload)
    if magic != _FRAME_MAGIC or not event_bytes or event_bytes % _NUMBER_BYTES:
        return None
    if len(payload) != _FRAME.size + count * event_bytes:
        return None
    words = memoryview(payload)[_FRAME.size :].cast("Q")
    return publisher, intended_ns, words[0 :: event_bytes // _NUMBER_BYTES].tolist()

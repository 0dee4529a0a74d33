"""The audit trail's hash chain: each entry's hash covers the hash before it, so that nothing in the trail can be
changed, taken out or slipped in without every later hash telling.

An entry is the event as canonical JSON: fields sorted by name, money as a number with the digits that it has, no
space. So the same event always gives the same text, and the trail can be checked without this project, with any
SHA-256. What a chain cannot tell is that its end was cut off: that takes an anchor kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

import msgspec

from system.wire import Event

_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


class Tip(NamedTuple):
    """The end of a chain: how many entries it has, and the last one's hash."""

    seq: int
    hash: str


START = Tip(0, "0" * 64)
"""The end of a chain that has no entry yet."""


class Entry(NamedTuple):
    """One row of the trail, its fields in the order of the table's columns."""

    seq: int
    event_id: str
    partition: str
    position: int
    entry: str
    previous_hash: str
    hash: str


class Broken(Exception):
    """The chain does not hold; `seq` is the first entry that is not what it must be."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"the trail breaks at entry {seq}: {reason}")
        self.seq = seq


class _Identity(msgspec.Struct):
    id: str
    partition: str
    position: int


_identity = msgspec.json.Decoder(_Identity).decode


def canonical(event: Event) -> str:
    """The text of an event that goes into the trail."""
    return _encode(event).decode()


def link(previous_hash: str, entry: str) -> str:
    """The hash of an entry: SHA-256 over the hash before it, a line feed and the entry, in hexadecimal."""
    return sha256(f"{previous_hash}\n{entry}".encode()).hexdigest()


def extend(tip: Tip, events: Iterable[Event]) -> list[Entry]:
    """The entries that follow on `tip`, one for each event in the order given."""
    entries: list[Entry] = []
    seq, previous = tip
    for event in events:
        seq += 1
        text = canonical(event)
        linked = link(previous, text)
        entries.append(Entry(seq, event.id, event.partition, event.position, text, previous, linked))
        previous = linked
    return entries


def follow(tip: Tip, entries: Iterable[Entry]) -> Tip:
    """The tip after these entries. Broken if any of them is not the one that must follow."""
    for entry in entries:
        _check(tip, entry)
        tip = Tip(entry.seq, entry.hash)
    return tip


def _check(tip: Tip, entry: Entry) -> None:
    expected = tip.seq + 1
    if entry.seq != expected:
        raise Broken(expected, f"expected it after entry {tip.seq}, found entry {entry.seq}")
    if entry.previous_hash != tip.hash:
        raise Broken(expected, f"it follows on hash {entry.previous_hash}, but entry {tip.seq} has {tip.hash}")
    found = link(tip.hash, entry.entry)
    if entry.hash != found:
        raise Broken(expected, f"its hash is {entry.hash}, but its text gives {found}")
    try:
        identity = _identity(entry.entry)
    except msgspec.MsgspecError as error:
        raise Broken(expected, f"its text is no event: {error}") from None
    if (identity.id, identity.partition, identity.position) != entry[1:4]:
        raise Broken(expected, f"it is filed as {entry[1:4]}, but its text says {msgspec.structs.astuple(identity)}")

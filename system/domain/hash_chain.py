"""The audit trail's hash chain. Each entry's hash covers the hash before it, so a change, deletion or insertion
invalidates every later hash.

An entry is its event as canonical JSON: fields sorted by name, money as a number with its digits, no whitespace. The
same event always gives the same text, so any SHA-256 tool can verify the trail. The chain alone cannot show that its
end was cut off; that takes an anchor stored elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

import msgspec

from system.wire import Event

_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


class Tip(NamedTuple):
    """The end of a chain: the number of its entries and the hash of the last one (64 hexadecimal digits)."""

    seq: int
    hash: str


START = Tip(0, "0" * 64)
"""The tip of an empty chain."""


class Entry(NamedTuple):
    """A row of the trail; the fields are in the order of the table's columns."""

    seq: int
    event_id: str
    partition: str
    position: int
    entry: str
    previous_hash: str
    hash: str


class Broken(Exception):
    """The chain is not intact; `seq` is the first entry that is wrong."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"the trail breaks at entry {seq}: {reason}")
        self.seq = seq


class _Identity(msgspec.Struct):
    id: str
    partition: str
    position: int


_identity = msgspec.json.Decoder(_Identity).decode


def canonical(event: Event) -> str:
    """An event as canonical JSON."""
    return _encode(event).decode()


def link(previous_hash: str, entry: str) -> str:
    """The hash of an entry: SHA-256 over the previous hash, a line feed and the entry's text, in hexadecimal."""
    return sha256(f"{previous_hash}\n{entry}".encode()).hexdigest()


def extend(tip: Tip, events: Iterable[Event]) -> list[Entry]:
    """The entries that continue the chain after `tip`: one for each event, in order."""
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
    """Verify entries that continue the chain after `tip`. Returns the new tip. Broken at the first wrong entry."""
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

"""How often an event took effect, from the trace of ranges that a consumer leaves beside its effects.

A consumer writes one range of positions a batch, in the same transaction as the effects. A position that no
range covers is a lost effect, one that two cover a doubled one. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Range = tuple[int, int]
"""First and last position, both included."""


class Event(NamedTuple):
    """The event of one write: what it is called at the hops behind the database."""

    event_id: str
    partition: str
    position: int | None
    """None while the relay has given it none."""

    def label(self) -> str:
        """`event 5f0c..., projects.2 position 17`."""
        where = "no position yet" if self.position is None else f"position {self.position}"
        return f"event {self.event_id}, {self.partition} {where}"


def coverage(ranges: Iterable[Range], positions: Iterable[int]) -> dict[int, int]:
    """How many of the ranges cover each position; 0 for none."""
    known = list(ranges)
    firsts = sorted(first for first, _ in known)
    lasts = sorted(last for _, last in known)
    # A range covers a position if it has begun at it and not ended before it.
    return {at: bisect_right(firsts, at) - bisect_left(lasts, at) for at in positions}


def effects(events: Mapping[str, Event], applied: Mapping[str, Iterable[Range]]) -> dict[str, int]:
    """Write id -> how often its event took effect, by a consumer's ranges of each partition; those that did not
    take effect are left out."""
    found: dict[str, int] = {}
    for partition in {event.partition for event in events.values()}:
        here = {key: event.position for key, event in events.items() if event.partition == partition}
        counts = coverage(applied.get(partition, ()), {at for at in here.values() if at is not None})
        found.update({key: counts[at] for key, at in here.items() if at is not None and counts[at]})
    return found


def parse_range(text: str) -> Range:
    """`17-20` -> (17, 20). ValueError if it is no such thing."""
    first, _, last = text.partition("-")
    found = int(first), int(last)
    if found[0] > found[1]:
        raise ValueError(f"expected first-last, found {text!r}")
    return found

"""How often events took effect, from the ranges of positions that a consumer leaves as its trace.

A consumer writes one range of positions a batch, in the same transaction as the effects. A position that no
range covers is a lost effect, one that two cover a doubled one. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reports.evidence.range_set import Range


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


def parse_range(text: str) -> Range:
    """`17-20` -> (17, 20). ValueError if it is no such thing."""
    first, _, last = text.partition("-")
    found = int(first), int(last)
    if found[0] > found[1]:
        raise ValueError(f"expected first-last, found {text!r}")
    return found


def coverage(trace: Iterable[Range], positions: Iterable[int]) -> dict[int, int]:
    """How many ranges of a trace cover each position; 0 for none."""
    known = list(trace)
    firsts = sorted(first for first, _ in known)
    lasts = sorted(last for _, last in known)
    # A range covers a position if it has begun at it and not ended before it.
    return {at: bisect_right(firsts, at) - bisect_left(lasts, at) for at in positions}


def overlaps(trace: Iterable[Range]) -> list[Range]:
    """What more than one range of a trace covers."""
    found: list[Range] = []
    highest = None
    for first, last in sorted(trace):
        if highest is not None and first <= highest:
            found.append((first, min(highest, last)))
        highest = last if highest is None else max(highest, last)
    return found


def times_applied(events: Mapping[str, Event], traces: Mapping[str, Iterable[Range]]) -> dict[str, int]:
    """Write id -> how often its event took effect, by a consumer's trace of each partition; those that did not
    take effect are left out."""
    found: dict[str, int] = {}
    for partition in {event.partition for event in events.values()}:
        here = {key: event.position for key, event in events.items() if event.partition == partition}
        counts = coverage(traces.get(partition, ()), {at for at in here.values() if at is not None})
        found.update({key: counts[at] for key, at in here.items() if at is not None and counts[at]})
    return found


def lacking(heads: Mapping[str, int], positions: Mapping[str, int]) -> dict[str, int]:
    """Partition -> how many events are missing up to its head, by the position that was reached in it; those that
    lack nothing are left out."""
    left = {partition: head - positions.get(partition, 0) for partition, head in heads.items()}
    return {partition: count for partition, count in left.items() if count > 0}

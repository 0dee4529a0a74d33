"""The guard that makes effects exactly once: it decides which of the delivered events may be applied.

Neither the stream's duplicate window nor its sequence guarantees that an event arrives once and in order: a relay
publishes again after a failure, and a consumer that died gets its events again. So every event has a position in its
partition, without gaps, and a consumer stores the last applied position in the transaction of the effect. The guard
compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Positioned(Protocol):
    @property
    def position(self) -> int: ...


T = TypeVar("T", bound=Positioned)


@dataclass(frozen=True)
class Admission(Generic[T]):
    """The delivered events of a partition, in three groups."""

    applicable: list[T]
    """May be applied now, in this order: replays of skipped positions, then the events that follow on the position."""
    duplicates: list[T]
    """Applied before, or in `applicable` already."""
    held: list[T]
    """After a gap; must wait until the gap is filled."""
    next_position: int = 0
    """The next position of the partition, once `applicable` is applied."""


def admit(position: int, arrived: Iterable[T], skipped: Set[int] = frozenset()) -> Admission[T]:
    """Decide about the delivered events of a partition. Everything up to `position` is applied except the `skipped`
    positions, of which each is applicable once."""
    applicable: list[T] = []
    duplicates: list[T] = []
    held: list[T] = []
    wanted = set(skipped)
    for event in sorted(arrived, key=lambda one: one.position):
        if event.position <= position:
            if event.position in wanted:
                wanted.discard(event.position)
                applicable.append(event)
            else:
                duplicates.append(event)
        elif event.position == position + 1:
            applicable.append(event)
            position = event.position
        else:
            held.append(event)
    return Admission(applicable, duplicates, held, position + 1)


def ranges(events: Sequence[Positioned]) -> list[tuple[int, int]]:
    """The positions of events as (first, last) of each run without a gap, in the order of the events. They are stored
    as a trace: if a position were ever applied twice, two ranges would overlap."""
    runs: list[tuple[int, int]] = []
    for event in events:
        if runs and event.position == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], event.position)
        else:
            runs.append((event.position, event.position))
    return runs

"""Exactly once: which of the events that arrived may take effect.

Neither the stream's duplicate window nor its sequence can promise that an event arrives once and in order: a
relay publishes again after a failure, a consumer that died is given its events again. Every event carries a
position in its partition without gaps, and the consumer keeps the position that it has applied in the same
transaction as the effects. So it can tell by comparing two numbers.
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
    """What arrived, sorted into three."""

    applicable: list[T]
    """May take effect now: what follows on what is applied, in order, without gaps, after skipped ones that are
    made up for."""
    duplicates: list[T]
    """Took effect before, or stands in `applicable` already."""
    held: list[T]
    """Comes after a gap: must wait until the gap is filled."""
    next_position: int = 0
    """What the partition waits for, once `applicable` is applied."""


def admit(position: int, arrived: Iterable[T], skipped: Set[int] = frozenset()) -> Admission[T]:
    """Sort the events of one partition, of which everything up to `position` is applied, but for the `skipped`
    ones: each of those is applicable once more, before what follows on `position`."""
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
    """What is being applied, as (first, last) of each run without a gap. Written as it is, in the order in
    which it is applied: should a position ever be applied twice, the ranges overlap and show it."""
    runs: list[tuple[int, int]] = []
    for event in events:
        if runs and event.position == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], event.position)
        else:
            runs.append((event.position, event.position))
    return runs

"""What of many things runs tonight: all of it if it fits, else a share, so that three nights in a row run everything.

The nights have three fixed groups, filled from the longest item down, so that the share of a night depends on its date
and on nothing that was measured: lengths are declared. Time that is left over tonight goes to the other groups, first
to the one whose turn is the longest ago. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import NamedTuple

NIGHTS = 3
"""In so many nights everything has its turn."""


class Item(NamedTuple):
    """Something that takes its turn, with its declared length."""

    name: str
    seconds: float


class Turns(NamedTuple):
    """Which night runs what."""

    always: tuple[str, ...]
    groups: tuple[tuple[Item, ...], ...]
    """One for each of three nights, without those that run always."""
    room_s: float
    """What a night has for its group; below 0 if not even those that run always fit."""
    never: tuple[str, ...]
    """What fits into no night."""

    def tonight(self, day: date) -> tuple[str, ...]:
        """What runs in the night of that day: those that run always first, then the others by name."""
        turn = day.toordinal() % NIGHTS
        chosen, left_s = [], self.room_s
        for later in range(NIGHTS):  # The group of tomorrow ran two nights ago, the one after it last night.
            for item in self.groups[(turn + later) % NIGHTS]:
                if item.seconds <= left_s:
                    chosen.append(item.name)
                    left_s -= item.seconds
        return (*self.always, *sorted(chosen))


def turns(items: Iterable[Item], budget_s: float, always: Collection[str] = ()) -> Turns:
    """Share the items out over three nights of `budget_s` each. Items that are named in `always` run every night, in
    that order; names in it that are no item's are left out."""
    known = {item.name: item for item in items}
    fixed = tuple(name for name in always if name in known)
    room_s = budget_s - sum(known[name].seconds for name in fixed)
    groups: list[list[Item]] = [[] for _ in range(NIGHTS)]
    never = []
    for item in sorted(known.values(), key=lambda each: (-each.seconds, each.name)):
        if item.name in fixed:
            continue
        emptiest = min(groups, key=_seconds)
        if _seconds(emptiest) + item.seconds <= room_s:
            emptiest.append(item)
        else:
            never.append(item.name)
    return Turns(fixed, tuple(map(tuple, groups)), room_s, tuple(sorted(never)))


def _seconds(items: Sequence[Item]) -> float:
    return sum(item.seconds for item in items)

"""Catches a part in a gap that lasts milliseconds, from outside and without the part's help.

The hunt freezes the part at a random moment and looks where it stands. In the wanted gap the caller kills it;
otherwise it goes on, and so does the hunt. A frozen part moves nothing, so what was seen is still true when the
kill comes. A short freeze beforehand lets work pile up, which makes the next gap longer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from chaoslib.exceptions import ActivityFailed

_PILE_UP_S = 0.5
_LONGEST_RUN_S = 0.04
_BREATHE_S = 0.1
_SETTLED_AFTER_S = 0.05
_SETTLE_WITHIN_S = 1.0


class Stands(Protocol):
    """How a process that does not move stands: `in_gap` is the event that is in the wanted gap, if any."""

    @property
    def in_gap(self) -> tuple[str, int] | None: ...


S = TypeVar("S", bound=Stands)
Look = Callable[[], Awaitable[S]]


class Pauses(Protocol):
    """What the hunt needs of a fabric."""

    def pause(self, *names: str) -> int: ...

    def resume(self, *names: str) -> None: ...


async def hunt(fabric: Pauses, part: str, look: Look[S], within_s: float) -> tuple[int, S]:
    """Freeze a part in its gap: (CLOCK_MONOTONIC ns just before the pause that lasted, how it stands).

    If it is not caught within `within_s` it is left frozen wherever it is; `in_gap` of the answer says so. The
    caller kills it. ActivityFailed if it has ended by itself; what `look` raises leaves it frozen, too.
    """
    deadline = time.monotonic() + within_s
    while True:
        await _pile_up(fabric, part)
        await asyncio.sleep(random.uniform(0, _LONGEST_RUN_S))
        at_ns = time.monotonic_ns()
        _pause(fabric, part)
        stands = await _settled(look)
        if stands.in_gap is not None or time.monotonic() > deadline:
            return at_ns, stands
        fabric.resume(part)
        await asyncio.sleep(_BREATHE_S)


async def _pile_up(fabric: Pauses, part: str) -> None:
    _pause(fabric, part)
    await asyncio.sleep(_PILE_UP_S)
    fabric.resume(part)


def _pause(fabric: Pauses, part: str) -> None:
    if not fabric.pause(part):
        raise ActivityFailed(f"expected {part} to run until it is caught, found that it has ended")


async def _settled(look: Look[S]) -> S:
    """How a stopped process stands once what it had sent before (a COMMIT, an acknowledgement) has arrived: two
    looks in a row that agree on the gap, or the last one when they do not within a second."""
    deadline = time.monotonic() + _SETTLE_WITHIN_S
    before = await look()
    while True:
        await asyncio.sleep(_SETTLED_AFTER_S)
        now = await look()
        if now.in_gap == before.in_gap or time.monotonic() > deadline:
            return now
        before = now

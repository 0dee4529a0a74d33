"""Catches a part in a gap that lasts milliseconds, from outside and without the part's help.

The hunt freezes the part, looks where it stands, and lets it run for a moment (`stride`): towards the gap in short
steps, until a freeze falls into it. In the wanted gap the caller kills it. A frozen part moves nothing, so what was
seen is still true when the kill comes. A longer freeze before each walk lets work pile up.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import psycopg
from chaoslib.exceptions import ActivityFailed
from redis.exceptions import RedisError

from chaos.faults.process.stride import Stride
from ledger.observe.bus import BusError

_PILE_UP_S = 0.3
_BREATHE_S = 0.1
_WALK_S = 2.0
"""A part that is kept on short steps for longer would be missed by those who wait for it."""
_SETTLED_AFTER_S = 0.05
_SETTLE_WITHIN_S = 1.0
_LOOKS_MAX = 3
_UNANSWERED = (BusError, psycopg.Error, RedisError, OSError)


class Stands(Protocol):
    """How a process that does not move stands: `in_gap` is the event that is in the wanted gap, if any; `passed` grows
    when an event has left it."""

    @property
    def in_gap(self) -> tuple[str, int] | None: ...

    @property
    def passed(self) -> int: ...


S = TypeVar("S", bound=Stands)
Look = Callable[[], Awaitable[S]]


class Pauses(Protocol):
    """What the hunt needs of a fabric."""

    def pause(self, *names: str) -> int: ...

    def let_run(self, name: str, for_s: float) -> tuple[int, float] | None: ...


async def hunt(fabric: Pauses, part: str, look: Look[S], within_s: float) -> tuple[int, S]:
    """Freeze a part in its gap: (CLOCK_MONOTONIC ns just before the pause that lasted, how it stands).

    If it is not caught within `within_s` it is left frozen wherever it is; `in_gap` of the answer says so. The
    caller kills it. ActivityFailed if it has ended by itself; what `look` raises leaves it frozen, too.
    """
    deadline = time.monotonic() + within_s
    at_ns = time.monotonic_ns()
    # Once: a fabric looks for all that the part has started, which takes long on a busy machine.
    if not fabric.pause(part):
        raise _ended(part)
    stride = Stride()
    while True:
        await asyncio.sleep(_PILE_UP_S)
        stands = await _settled(look)
        walk_ends = min(deadline, time.monotonic() + _WALK_S)
        passed = False
        while stands.in_gap is None and not passed and time.monotonic() < walk_ends:
            before = stands.passed
            at_ns, ran_s = _let_run(fabric, part, stride.next_s(random.random()))
            stands = await _settled(look)
            passed = stands.passed > before
            stride = stride.after(ran_s, passed=passed)
        if stands.in_gap is not None or time.monotonic() > deadline:
            return at_ns, stands
        stride = stride.anew()
        at_ns, _ = _let_run(fabric, part, _BREATHE_S)


def _let_run(fabric: Pauses, part: str, for_s: float) -> tuple[int, float]:
    """Blocks the event loop, which would round milliseconds, and has nothing else to do."""
    ran = fabric.let_run(part, for_s)
    if ran is None:
        raise _ended(part)
    return ran


def _ended(part: str) -> ActivityFailed:
    return ActivityFailed(f"expected {part} to run until it is caught, found that it has ended")


async def _settled(look: Look[S]) -> S:
    """How a stopped process stands once what it had sent before (a COMMIT, an acknowledgement) has arrived: two
    looks in a row that agree, or the last one when they do not within a second."""
    deadline = time.monotonic() + _SETTLE_WITHIN_S
    before = await _answered(look)
    while True:
        await asyncio.sleep(_SETTLED_AFTER_S)
        now = await _answered(look)
        if (now.in_gap, now.passed) == (before.in_gap, before.passed) or time.monotonic() > deadline:
            return now
        before = now


async def _answered(look: Look[S]) -> S:
    """One look, again where it was not answered: on a busy machine that may happen, and a stopped process stays as it
    is. The last time it raises what `look` raises."""
    for _ in range(_LOOKS_MAX - 1):
        with suppress(*_UNANSWERED):
            return await look()
    return await look()

"""Waiting for a condition, with a deadline: one loop for threads, and one for an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

_LOOP_POLL_S = 0.02


class Clock(Protocol):
    """A clock that never goes back, as the module `time` has it."""

    def monotonic(self) -> float: ...

    def monotonic_ns(self) -> int: ...

    def sleep(self, seconds: float, /) -> None: ...


def until(condition: Callable[[], T | None], within_s: float, clock: Clock = time, *, every_s: float = 0.1) -> T | None:
    """The first result of `condition` that is not None; None if there is none within `within_s` seconds.

    `condition` is called at least once, and again every `every_s` seconds.
    """
    deadline = clock.monotonic() + within_s
    while (found := condition()) is None:
        if clock.monotonic() > deadline:
            return None
        clock.sleep(every_s)
    return found


async def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether the condition holds now or within `within_s` seconds. Other tasks of the event loop run meanwhile."""
    deadline = time.monotonic() + within_s
    while not (holds := condition()) and time.monotonic() < deadline:
        await asyncio.sleep(_LOOP_POLL_S)
    return holds

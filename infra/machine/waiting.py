"""Waiting on a condition with a deadline: the only way in which anything here waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

_POLL_S = 0.1
_LOOP_POLL_S = 0.02


class Clock(Protocol):
    """A clock that never goes back; the module `time` is one."""

    def monotonic(self) -> float: ...

    def monotonic_ns(self) -> int: ...

    def sleep(self, seconds: float, /) -> None: ...


def until(look: Callable[[], T | None], within_s: float, clock: Clock = time) -> T | None:
    """The first answer of `look` that is not None; None if there is none within `within_s`. Looks at least once."""
    deadline = clock.monotonic() + within_s
    while (found := look()) is None:
        if clock.monotonic() > deadline:
            return None
        clock.sleep(_POLL_S)
    return found


async def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether the condition holds now or within `within_s`; the event loop goes on meanwhile."""
    deadline = time.monotonic() + within_s
    while not (holds := condition()) and time.monotonic() < deadline:
        await asyncio.sleep(_LOOP_POLL_S)
    return holds

"""Waiting for a condition, with a deadline: the one loop for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T | None], within_s: float, *, every_s: float = 0.1) -> T | None:
    """The first result of `condition` that is not None; None if there is none within `within_s` seconds.

    `condition` is called at least once, and again every `every_s` seconds.
    """
    deadline = time.monotonic() + within_s
    while (found := condition()) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(every_s)
    return found

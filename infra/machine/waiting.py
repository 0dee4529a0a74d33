"""Waiting on a condition with a deadline: the only way in which anything here waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1


def until(look: Callable[[], T | None], within_s: float) -> T | None:
    """The first answer of `look` that is not None; None if there is none within `within_s`. Looks at least once."""
    deadline = time.monotonic() + within_s
    while (found := look()) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL_S)
    return found

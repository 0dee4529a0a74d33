"""An event loop for a test that gives up connections in the middle of a TLS handshake."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. What was given up would close later than the loop lives, and is left to the collector, which
    would warn of it in whatever test runs then: it is collected here."""
    try:
        return asyncio.run(work)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

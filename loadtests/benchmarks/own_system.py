"""A whole system for the length of a benchmark: started for it, and removed afterwards whatever becomes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.fabric.process.create import create
from infra.fabric.process.system import System
from infra.machine import interrupts
from infra.machine.progress import say, step

_CHECKOUT = Path(__file__).resolve().parents[2]


@contextmanager
def started(name: str, size: str = "core") -> Iterator[System]:
    """CannotStart or StartError if it does not come up. SIGTERM and a hang-up end it as Ctrl-C does."""
    interrupts.raise_interrupt()
    system = create(_CHECKOUT, f"{name}-{time.time_ns()}", size=size, plant={})
    try:
        with step("system") as progress:
            system.start(progress)
        yield system
    finally:
        say("stopping the system")
        system.stop()
        system.remove()

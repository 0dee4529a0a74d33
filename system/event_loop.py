"""Which event loop a process runs on, for the system and for the clients that put it to the test.

uvloop is the faster one. Its versions 0.22 and 0.23 corrupt their memory when TLS connections end
(MagicStack/uvloop#706). With many TLS connections that time out, 0.21 ended with SIGSEGV or SIGABRT here, too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from importlib import metadata
from typing import Any, TypeVar

T = TypeVar("T")
_CORRUPTING = (0, 22)
"""From this version of uvloop on; none that mends it is known."""


def run(main: Coroutine[Any, Any, T], *, tls_timeouts: bool = False) -> T:
    """Run a coroutine as `asyncio.run` does, on the fastest loop that is sound. `tls_timeouts`: the process has many
    TLS connections that time out, as a client does whose servers are killed and cut off; it gets asyncio's own loop."""
    with asyncio.Runner(loop_factory=None if tls_timeouts else fastest()) as runner:
        return runner.run(main)


def fastest() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop of uvloop; None, which stands for asyncio's own, where no sound version is installed."""
    try:
        if not is_sound(metadata.version("uvloop")):
            return None
        import uvloop
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


def is_sound(version: str) -> bool:
    """Whether this version of uvloop is not known to corrupt its memory."""
    return tuple(map(int, re.findall(r"\d+", version)[:2])) < _CORRUPTING

"""What every process of the system does the same way: read its settings, say when it is ready, log one plain
line per change of state, and end within seconds of SIGTERM.

A process never ends because its surroundings are away: it waits for them, and says so once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from system import settings as settings_
from system.settings import Settings

_END_WITHIN_S = 4.0
_BACKOFF_FIRST_S = 0.05
_BACKOFF_LONGEST_S = 1.0


class Surroundings:
    """Whether the things that a process depends on are there; logs each change once."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._away: set[str] = set()

    def away(self, name: str, error: BaseException | str) -> None:
        """It cannot be reached. Errors of the network often have no text: then their type is the reason."""
        if name not in self._away:
            self._away.add(name)
            reason = str(error).partition("\n")[0] or type(error).__name__
            self._log.warning("%s is away: %s", name, reason)

    def back(self, name: str) -> None:
        """It answered."""
        if name in self._away:
            self._away.discard(name)
            self._log.warning("%s is back", name)


class Backoff:
    """How long to wait before the next try: 50 ms, doubling up to 1 s; `reset` after a success."""

    def __init__(self) -> None:
        self._next_s = _BACKOFF_FIRST_S

    def reset(self) -> None:
        self._next_s = _BACKOFF_FIRST_S

    async def wait(self) -> None:
        await asyncio.sleep(self._next_s)
        self._next_s = min(2 * self._next_s, _BACKOFF_LONGEST_S)


def remove_stale(ready_file: str | None) -> None:
    """Remove what an earlier process left, so that nobody takes it for ours."""
    if ready_file:
        Path(ready_file).unlink(missing_ok=True)


def make_ready(ready_file: str | None) -> None:
    """Say that this process does its work now."""
    if ready_file:
        Path(ready_file).touch()


def run(name: str, main: Callable[[Settings, logging.Logger], Coroutine[Any, Any, None]], *, once: bool = False) -> int:
    """Run one process until SIGTERM comes, or one that does its work `once` and keeps its ready file.

    The exit code: 0; 1 if a process that runs once did not get its work done in time; 2 if settings are
    missing or of no use.
    """
    logging.basicConfig(format=f"{name}: %(message)s", level=logging.WARNING, stream=sys.stderr)
    # Expected outages are told by Surroundings, in one line; the library would add a traceback to each.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    log = logging.getLogger(f"covenant.{name}")
    try:
        settings = settings_.load()
    except settings_.SettingsError as error:
        log.error("%s", error)
        return 2
    remove_stale(settings.ready_file)
    try:
        uvloop.run(_until_told_to_end(main(settings, log), log))
    except settings_.SettingsError as error:
        log.error("%s", error)
        return 2
    except TimeoutError:
        if not once:
            raise
        log.error("gave up: what was away above did not come back in time; start it, then try again")
        return 1
    if not once:
        remove_stale(settings.ready_file)
    return 0


async def _until_told_to_end(main: Coroutine[Any, Any, None], log: logging.Logger) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)

    def end() -> None:
        task.cancel()
        loop.call_later(_END_WITHIN_S, give_up)

    def give_up() -> None:
        log.error("did not end within %.0f s of being told to, leaving at once", _END_WITHIN_S)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()

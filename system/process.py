"""What every process of the system does the same way: read its settings, make its ready file, wait for what it
depends on, and end within seconds of SIGTERM.

A process does not end because a dependency is unavailable. It retries, and logs one line when the dependency goes
away and one when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from system import event_loop
from system import settings as settings_
from system.settings import Settings

_END_WITHIN_S = 4.0
_BACKOFF_FIRST_S = 0.05
_BACKOFF_LONGEST_S = 1.0


T = TypeVar("T")


class DependencyState:
    """Which of a process's dependencies are unavailable. Logs each change once."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._away: set[str] = set()

    def away(self, name: str, error: BaseException | str) -> None:
        """Note that this dependency failed. The log line gives the first line of the error as the reason, or the
        error's type, since many network errors have no text."""
        if name not in self._away:
            self._away.add(name)
            reason = str(error).partition("\n")[0] or type(error).__name__
            self._log.warning("%s is away: %s", name, reason)

    def back(self, name: str) -> None:
        """Note that this dependency answered."""
        if name in self._away:
            self._away.discard(name)
            self._log.warning("%s is back", name)


class Backoff:
    """The pause before the next try: 50 ms, doubling up to 1 s. Call `reset` after a success."""

    def __init__(self) -> None:
        self._next_s = _BACKOFF_FIRST_S

    def reset(self) -> None:
        self._next_s = _BACKOFF_FIRST_S

    async def wait(self) -> None:
        await asyncio.sleep(self._next_s)
        self._next_s = min(2 * self._next_s, _BACKOFF_LONGEST_S)


async def retry(
    work: Callable[[], Awaitable[T]],
    errors: type[Exception] | tuple[type[Exception], ...],
    dependencies: DependencyState,
    name: str,
) -> T:
    """What `work` returns. As long as it raises one of `errors`, the dependency `name` counts as away and `work` is
    tried again after a backoff, without a limit: put a timeout around it where there must be one."""
    backoff = Backoff()
    while True:
        try:
            result = await work()
        except errors as error:
            dependencies.away(name, error)
            await backoff.wait()
            continue
        dependencies.back(name)
        return result


async def set_within(event: asyncio.Event, within_s: float) -> bool:
    """Wait for an event. False if it was not set within so many seconds."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def remove_stale(ready_file: str | None) -> None:
    """Remove the ready file that an earlier process left: a supervisor would take it for ours."""
    if ready_file:
        Path(ready_file).unlink(missing_ok=True)


def make_ready(ready_file: str | None) -> None:
    """Create the ready file: this process does its work now."""
    if ready_file:
        Path(ready_file).touch()


def run(name: str, main: Callable[[Settings, logging.Logger], Coroutine[Any, Any, None]], *, once: bool = False) -> int:
    """Run a process until it gets SIGTERM or SIGINT. With `once`, run it until its work is done, and keep its ready
    file.

    Returns the exit code: 0; 1 if a process that runs once raised TimeoutError; 2 if settings are missing or invalid.
    """
    logging.basicConfig(format=f"{name}: %(message)s", level=logging.WARNING, stream=sys.stderr)
    # DependencyState logs an expected outage in one line; the library would add a traceback to each.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    log = logging.getLogger(f"covenant.{name}")
    try:
        settings = settings_.load()
    except settings_.SettingsError as error:
        log.error("%s", error)
        return 2
    remove_stale(settings.ready_file)
    try:
        event_loop.run(_until_signalled(main(settings, log), log))
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


async def _until_signalled(main: Coroutine[Any, Any, None], log: logging.Logger) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)

    def end() -> None:
        task.cancel()
        loop.call_later(_END_WITHIN_S, give_up)

    def give_up() -> None:
        log.error("did not end within %.0f s of its signal, exiting at once", _END_WITHIN_S)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()

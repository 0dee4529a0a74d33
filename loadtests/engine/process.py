"""The shell of an engine process: its specification, when it begins and ends, what it says.

An engine is a process of its own, started as `python -m loadtests.engine.<x> SPEC.json`, because Locust
patches the process that it is imported into. It says `Ready` on stdout, begins when it reads the instant from
stdin, and says `Stat` lines a few times a second. It ends when its work is done, or early, with what it has
recorded, on SIGTERM, SIGINT, or the end of stdin: so it cannot outlive the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from infra.machine.spec import EngineError, SpecT, read_spec
from infra.target import NoTarget
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.short_slices import ask_for_short_slices
from loadtests.recording.early import Planned
from loadtests.recording.live import Stat
from system import event_loop

START_DEADLINE_S = 60.0
_REPORT_INTERVAL_S = 0.25
_DRAIN_INTERVAL_S = 0.05


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine waits for the instant to begin at. `planned`: what it will measure for rows of latency."""

    planned: list[Planned] = []


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine has written what it measured. `error` says why it could not."""

    error: str | None = None


class Slice(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A calibration begins or ends a slice of its window."""


class Go(msgspec.Struct, frozen=True, kw_only=True):
    """The line that an engine reads from stdin: its schedule begins at this instant of CLOCK_MONOTONIC."""

    begin_ns: int


Said = Ready | Ended | Stat


class Control:
    """The engine's side of the two pipes to the process that started it."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        """Set when the engine is to stop offering load, and to end with what it has."""
        self.failure: str | None = None
        """Why the engine cannot go on, found in a callback, whose exception reaches no caller (a timer, a socket)."""
        self._begin: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's handler for what a callback raised: end in order, with what there is (a full disk)."""
        if _came_too_late(context):
            return
        if self.failure is None:
            self.failure = str(context.get("exception") or context["message"])
        self.finish.set()

    async def begin(self, planned: Sequence[Planned] = ()) -> int | None:
        """Say that the engine is ready, and what it plans; the instant to begin at, None if it is to end at once."""
        self.say(Ready(planned=list(planned)))
        stop = asyncio.ensure_future(self.finish.wait())
        waits: set[asyncio.Future[Any]] = {self._begin, stop}
        await asyncio.wait(waits, timeout=START_DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        ended = stop.done()
        stop.cancel()
        if self._begin.done():
            return self._begin.result()
        if ended:
            return None
        raise EngineError(f"expected to be told when to begin, waited {START_DEADLINE_S:.0f} s")

    def say(self, what: Said | Slice) -> bool:
        """Write one line to stdout; False if the pipe is full, and then nothing was written. The engine must not wait
        for its reader: that would show as lateness of its schedule."""
        try:
            os.write(sys.stdout.fileno(), msgspec.json.encode(what) + b"\n")
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self.finish.set()
            return False
        return True

    def say_all(self, stats: Iterable[Stat]) -> None:
        for stat in stats:
            self.say(stat)

    async def listen(self) -> None:
        """Read stdin until its end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=4096)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            if not self._begin.done():
                self._begin.set_result(msgspec.json.decode(line, type=Go).begin_ns)
        self.finish.set()


async def offer(pacer: Pacer, control: Control, report: Callable[[], None]) -> None:
    """Let the pacer run to its end, or until the engine is to finish; `report` a few times a second."""
    stop = asyncio.ensure_future(control.finish.wait())
    end = asyncio.ensure_future(pacer.done.wait())
    while not (stop.done() or end.done()):
        await asyncio.wait({stop, end}, timeout=_REPORT_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
        report()
    stop.cancel()
    pacer.stop()


async def drain(idle: Callable[[], bool], within_s: float, report: Callable[[], None]) -> None:
    """Wait until everything that was released has ended, at most `within_s`; `report` meanwhile."""
    deadline = time.monotonic() + within_s
    while not idle() and time.monotonic() < deadline:
        await asyncio.sleep(_DRAIN_INTERVAL_S)
        report()


async def sleep_until(instant_ns: int) -> None:
    """Until that instant of CLOCK_MONOTONIC, to the event loop's millisecond; at once if it is past."""
    await asyncio.sleep(max(0.0, (instant_ns - time.monotonic_ns()) / 1e9))


def _came_too_late(context: dict[str, Any]) -> bool:
    """True for uvloop's spurious SSL error after we closed a connection whose answer had not come in time."""
    transport = context.get("transport")
    return (
        context.get("message") == "Fatal error on SSL protocol"
        and isinstance(context.get("exception"), RuntimeError)
        and transport is not None
        and transport.is_closing()
    )


def run_engine(kind: type[SpecT], work: Callable[[SpecT, Control], Awaitable[None]]) -> None:
    """`main` of an engine: exits 0 if it did its work, 1 with a line on stderr if it could not."""
    # nats-py's streams do over TLS what asyncio warns of each time a connection ends; nothing comes of it.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    sys.exit(event_loop.run(_run(read_spec(kind), work)))


async def _run(spec: SpecT, work: Callable[[SpecT, Control], Awaitable[None]]) -> int:
    ask_for_short_slices()
    # The collector's pauses would be lateness; what is alive now stays, and cycles are rare later.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    os.set_blocking(sys.stdout.fileno(), False)
    control = Control()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.finish.set)
    loop.set_exception_handler(control.on_exception)
    listening = loop.create_task(control.listen())
    try:
        await work(spec, control)
    except (EngineError, OSError, NoTarget) as error:
        control.failure = control.failure or str(error)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    if control.failure:
        print(control.failure, file=sys.stderr, flush=True)
    control.say(Ended(error=control.failure))
    return 1 if control.failure else 0

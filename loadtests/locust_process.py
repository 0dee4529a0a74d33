"""A Locust process as its runner sees it: what it prints, how it ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from infra.machine.progress import Report
from loadtests.display.progress import EndedEarly, Notice, Progress

_OVERHEAD_S = 300.0
"""Beyond the planned length: start, drain, catching up. Each has a shorter deadline of its own."""
_KILL_S = 10.0
_TAIL_LINES = 15
_decode_notice: Callable[[bytes], Notice] = msgspec.json.Decoder(Notice).decode


class LoadError(Exception):
    """The load could not be made; ends with the last lines of its log."""


class Output:
    """What the Locust process prints: its log, and lines for the runner."""

    def __init__(self, process: subprocess.Popen[bytes], progress: Report) -> None:
        self.process = process
        self.progress = progress
        self.ended_early: EndedEarly | None = None

    def read(self, deadline: float, log: BinaryIO) -> None:
        """Until it closes its output or the deadline passes."""
        assert self.process.stdout is not None
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while (left_s := deadline - time.monotonic()) > 0:
                if not selector.select(timeout=left_s):
                    continue
                data = os.read(self.process.stdout.fileno(), 65_536)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line, log)

    def _take(self, line: bytes, log: BinaryIO) -> None:
        match _notice(line):
            case Progress() as seen:
                self.progress(seen.fraction, seen.text)
            case EndedEarly() as ended:
                self.ended_early = ended
                self.progress(1.0, f"ending early: {ended.why}")
            case None:
                log.write(line + b"\n")
                log.flush()


def _notice(line: bytes) -> Notice | None:
    if not line.startswith(b'{"type":"'):
        return None
    with contextlib.suppress(msgspec.MsgspecError):
        return _decode_notice(line)
    return None


def follow(output: Output, length_s: float, log: BinaryIO) -> int:
    """Its exit code, when it has ended; `length_s` is how long its load is. It is asked to end early on an interrupt,
    and killed at the deadline."""
    process = output.process
    deadline = time.monotonic() + length_s + _OVERHEAD_S
    output.progress(0.0, "starting")
    try:
        output.read(deadline, log)
    finally:
        # The end of its stdin is what ends Locust and its engines, in order and with their evidence.
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        output.read(min(deadline, time.monotonic() + _OVERHEAD_S), log)
        try:
            process.wait(timeout=_KILL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=_KILL_S)
        assert process.stdout is not None
        process.stdout.close()
    output.progress(1.0, "done")
    return process.returncode


def tail(log: Path) -> str:
    """The last lines of a log."""
    with log.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=_TAIL_LINES)).rstrip()

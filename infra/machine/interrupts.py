"""The signals that end a command, all in the same way: Ctrl-C (SIGINT), a request to end (SIGTERM), and the hang-up of
the terminal (SIGHUP), unless `nohup` had it ignored."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from infra.machine.progress import forget_lost_terminal

Handler = Callable[[int, FrameType | None], object]
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def handle(handler: Handler) -> None:
    """Have `handler` called on each of them; only the main thread may ask for it."""

    def called(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            forget_lost_terminal()
        handler(number, frame)

    for number in _ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, called)


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Have `handler` called on each of them while the block runs; what was there before is there again afterwards."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    handle(handler)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def raise_interrupt() -> None:
    """Have each of them raise KeyboardInterrupt, as Ctrl-C does in a new process."""
    handle(signal.default_int_handler)


def ignore() -> None:
    """Have none of them do anything: what is being done must not be left halfway."""
    handle(lambda number, frame: None)

"""Wakes an event loop at exact instants: a kernel timer that the loop watches like a socket.

Event loops round their own timers to whole milliseconds: that alone would spend the allowance of a row whose target
is 10 ms, and uvloop, asked for half a millisecond, spins a whole core. A pacing thread has to win the interpreter's
lock from the loop. A timerfd costs a system call a wake-up and nothing while it waits; at 2,000 wake-ups a
second it took 8% of a core and was late by 0.2 ms at the 99th percentile on an idle machine. Python has it only
from 3.13 on, hence ctypes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Callable

from loadtests.arrivals.schedule import Schedule

_NS = 1_000_000_000
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1

QUANTUM_NS = 250_000
"""Operations that are due within one quantum share a wake-up: 10,000 of them a second would cost a third of a
core in wake-ups alone. What that adds to an operation's lag is counted as its lag."""


class _ITimerSpec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


_libc = ctypes.CDLL(None, use_errno=True)
# Declared once: else ctypes would look the types up at each of thousands of wake-ups a second.
_libc.timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"timerfd: {os.strerror(code)}")
    return result


class Alarm:
    """Calls back on the running loop at an instant of CLOCK_MONOTONIC, once for each `at`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._fd = _check(_libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC))
        self._at_ns: int | None = None
        self._value = _ITimerSpec()
        self._address = ctypes.addressof(self._value)
        self._loop.add_reader(self._fd, self._ring)

    def at(self, instant_ns: int) -> None:
        """Ring at `instant_ns`; at once if that is past. Replaces what was asked for before."""
        self._at_ns = instant_ns
        value = self._value
        value.value_s, value.value_ns = divmod(max(instant_ns, 1), _NS)
        _check(_libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._address, None))

    def _ring(self) -> None:
        if self._at_ns is not None and time.monotonic_ns() < self._at_ns:
            return  # It was set to a later instant after the loop was woken: it will ring again.
        self._at_ns = None
        try:
            self._callback()
        finally:
            # Setting the timer again makes it unreadable. Where the callback did not, it has to be read.
            if self._at_ns is None and self._fd >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._fd, 8)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1


class Pacer:
    """Releases a schedule's operations as they come due.

    `release(first, end, now_ns)` is called for operations `first` ... `end` - 1 with the instant at which
    they were ready to be sent; it must not block. `done` is set after the last one, or by `stop`.
    """

    def __init__(self, schedule: Schedule, release: Callable[[int, int, int], None]) -> None:
        self.schedule = schedule
        self.released = 0
        self.done = asyncio.Event()
        self._release = release
        self._alarm = Alarm(self._wake)
        self._alarm.at(schedule.begin_ns)

    def _wake(self) -> None:
        now = time.monotonic_ns()
        first, end = self.released, self.schedule.due(now)
        if end > first:
            self.released = end
            self._release(first, end, now)
        if end >= self.schedule.total:
            self.stop()
        elif not self.done.is_set():
            self._alarm.at(max(self.schedule.released_ns(end), now + QUANTUM_NS))

    def stop(self) -> None:
        """Release nothing more."""
        if not self.done.is_set():
            self._alarm.close()
            self.done.set()

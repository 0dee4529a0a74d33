"""The pacer on a real event loop and a real clock: everything once, in order, never early."""

from __future__ import annotations

import asyncio
import time

from loadtests.arrivals.pacer import Alarm, Pacer
from loadtests.arrivals.schedule import Schedule
from system import event_loop

DEADLINE_S = 20.0


def _pace(schedule: Schedule, *, stop_after: int | None = None) -> tuple[list[tuple[int, int, int]], int]:
    """(what was released, how many in the end)"""
    released: list[tuple[int, int, int]] = []

    async def run() -> int:
        def release(first: int, end: int, now_ns: int) -> None:
            released.append((first, end, now_ns))
            if stop_after is not None and end >= stop_after:
                pacer.stop()

        pacer = Pacer(schedule, release)
        async with asyncio.timeout(DEADLINE_S):
            await pacer.done.wait()
        return pacer.released

    return released, event_loop.run(run())


def test_every_operation_is_released_once_in_order_and_never_early() -> None:
    schedule = Schedule(time.monotonic_ns() + 5_000_000, 3000.0, 0.0, 0.2)
    released, total = _pace(schedule)
    numbers = [n for first, end, _ in released for n in range(first, end)]
    assert numbers == list(range(schedule.total))
    assert total == schedule.total
    assert all(now_ns >= schedule.intended_ns(end - 1) for _, end, now_ns in released)


def test_what_came_due_before_it_began_is_released_at_once() -> None:
    schedule = Schedule(time.monotonic_ns() - 50_000_000, 1000.0, 0.0, 0.04)
    released, _ = _pace(schedule)
    assert [(first, end) for first, end, _ in released] == [(0, schedule.total)]


def test_stopped_it_releases_nothing_more() -> None:
    schedule = Schedule(time.monotonic_ns(), 1000.0, 0.0, 3600.0)
    released, total = _pace(schedule, stop_after=5)
    assert total == released[-1][1] >= 5
    assert total < schedule.total


def test_an_alarm_rings_once_and_not_before_what_it_was_set_to_last() -> None:
    rung: list[int] = []

    async def run() -> None:
        alarm = Alarm(lambda: rung.append(time.monotonic_ns()))
        begin_ns = time.monotonic_ns()
        alarm.at(begin_ns)
        while time.monotonic_ns() < begin_ns + 1_000_000:
            pass  # It is due, and the loop has not looked yet.
        alarm.at(begin_ns + 30_000_000)
        async with asyncio.timeout(DEADLINE_S):
            while not rung:
                await asyncio.sleep(0.001)
        assert rung[0] >= begin_ns + 30_000_000
        await asyncio.sleep(0.005)
        assert len(rung) == 1
        alarm.close()

    event_loop.run(run())


def test_an_alarm_whose_callback_fails_does_not_ring_for_ever() -> None:
    failures: list[object] = []

    def fail() -> None:
        raise ValueError("on purpose")

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))
        alarm = Alarm(fail)
        alarm.at(1)
        await asyncio.sleep(0.02)
        alarm.close()

    event_loop.run(run())
    assert len(failures) == 1

"""The pacer on a real event loop and a real clock: everything once, in order, never early."""

from __future__ import annotations

import asyncio
import time

import uvloop

from loadtests.engine.pacer import Pacer
from loadtests.engine.schedule import Schedule

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

    return released, uvloop.run(run())


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

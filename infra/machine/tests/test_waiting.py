"""Waiting ends with what was waited for, or at its deadline, on a clock that only waiting moves."""

from __future__ import annotations

import asyncio

import pytest

from infra.machine.waiting import eventually, until


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return round(self.now_s * 1e9)

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds


def test_the_first_answer_ends_it() -> None:
    clock, answers = Clock(), iter([None, None, 0, 1])
    assert until(lambda: next(answers), 10.0, clock) == 0
    assert clock.now_s == pytest.approx(100.2)


def test_without_an_answer_it_ends_at_the_deadline() -> None:
    clock = Clock()
    assert until(lambda: None, 2.0, clock) is None
    assert clock.now_s == pytest.approx(102.0, abs=0.15)


def test_it_looks_once_even_without_time() -> None:
    assert until(lambda: "there", 0.0, Clock()) == "there"


def test_a_loop_goes_on_while_it_waits() -> None:
    async def work() -> tuple[bool, bool]:
        seen = asyncio.Event()
        asyncio.get_running_loop().call_soon(seen.set)
        return await eventually(seen.is_set, 20.0), await eventually(lambda: False, 0.0)

    assert asyncio.run(work()) == (True, False)

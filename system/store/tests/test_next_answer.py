"""Sharing an answer: never one that was asked for before somebody came, never more than one under way."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.store.next_answer import NextAnswer


class Counter:
    """A question whose answer is how many were asked before it; answered when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.under_way = 0
        self.answered: list[asyncio.Future[None]] = []

    async def ask(self) -> int:
        number = self.asked
        self.asked += 1
        self.under_way += 1
        assert self.under_way == 1
        self.answered.append(asyncio.get_running_loop().create_future())
        try:
            await self.answered[-1]
        finally:
            self.under_way -= 1
        return number


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@given(st.lists(st.sampled_from(["come", "answer", "leave"]), max_size=30))
def test_nobody_gets_an_answer_that_was_asked_for_before_they_came(steps: list[str]) -> None:
    async def run() -> None:
        counter = Counter()
        shared = NextAnswer(counter.ask)
        came: list[tuple[asyncio.Task[int], int]] = []
        for step in steps:
            if step == "come":
                came.append((asyncio.create_task(shared.get()), counter.asked))
            elif step == "leave" and came:
                came.pop()[0].cancel()
            elif counter.answered and not counter.answered[-1].done():
                counter.answered[-1].set_result(None)
            await settle()
        while counter.under_way:
            counter.answered[-1].set_result(None)
            await settle()
        for task, asked_before in came:
            assert await task >= asked_before

    asyncio.run(run())


def test_who_waits_at_the_same_time_shares_one_question() -> None:
    async def run() -> None:
        counter = Counter()
        shared = NextAnswer(counter.ask)
        first = asyncio.create_task(shared.get())
        await settle()
        later = [asyncio.create_task(shared.get()) for _ in range(100)]
        await settle()
        counter.answered[0].set_result(None)
        await settle()
        counter.answered[1].set_result(None)
        assert await first == 0
        assert await asyncio.gather(*later) == [1] * 100
        assert counter.asked == 2

    asyncio.run(run())


def test_an_error_goes_to_all_who_wait_and_the_next_question_is_asked_anew() -> None:
    async def run() -> None:
        failing = True

        async def ask() -> str:
            if failing:
                raise ConnectionError("as the test wants it")
            return "answer"

        shared = NextAnswer(ask)
        for outcome in await asyncio.gather(shared.get(), shared.get(), return_exceptions=True):
            assert isinstance(outcome, ConnectionError)
        failing = False
        assert await shared.get() == "answer"

    asyncio.run(run())


def test_one_that_stops_waiting_takes_nothing_from_the_others() -> None:
    async def run() -> None:
        counter = Counter()
        shared = NextAnswer(counter.ask)
        impatient, patient = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
        await settle()
        impatient.cancel()
        await settle()
        counter.answered[0].set_result(None)
        assert await patient == 0
        with pytest.raises(asyncio.CancelledError):
            await impatient

    asyncio.run(run())

"""Sharing a result: never one of a query that started before the call, never more than one query at a time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.store.single_flight import SingleFlight


class Counter:
    """A query whose result is the number of queries before it; it ends when the test says so."""

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
    """Run all tasks until each of them waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@given(st.lists(st.sampled_from(["come", "answer", "leave"]), max_size=30))
def test_no_caller_gets_the_result_of_a_query_that_started_before_the_call(steps: list[str]) -> None:
    async def run() -> None:
        counter = Counter()
        shared = SingleFlight(counter.ask)
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


def test_concurrent_callers_share_one_query() -> None:
    async def run() -> None:
        counter = Counter()
        shared = SingleFlight(counter.ask)
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


def test_an_error_goes_to_all_callers_and_the_next_call_queries_again() -> None:
    async def run() -> None:
        failing = True

        async def ask() -> str:
            if failing:
                raise ConnectionError("as the test wants it")
            return "answer"

        shared = SingleFlight(ask)
        for outcome in await asyncio.gather(shared.get(), shared.get(), return_exceptions=True):
            assert isinstance(outcome, ConnectionError)
        failing = False
        assert await shared.get() == "answer"

    asyncio.run(run())


def test_a_cancelled_caller_does_not_affect_the_others() -> None:
    async def run() -> None:
        counter = Counter()
        shared = SingleFlight(counter.ask)
        impatient, patient = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
        await settle()
        impatient.cancel()
        await settle()
        counter.answered[0].set_result(None)
        assert await patient == 0
        with pytest.raises(asyncio.CancelledError):
            await impatient

    asyncio.run(run())

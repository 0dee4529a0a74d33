"""Many that ask the same question at the same time share one answer, and it is never older than their question.

An answer that was asked for before somebody came may tell of a state from before they came: a client that has seen
a change would be shown what was there before it. So those who come while a question is under way wait for the next
one, which starts as soon as that one is answered; there is never more than one under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NextAnswer(Generic[T]):
    """Shares what `ask` returns or raises."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._waiting: list[asyncio.Future[T]] = []
        self._asking: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """The answer to a question that is asked after this call."""
        mine: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        if self._asking is None:
            self._asking = asyncio.create_task(self._answer_all())
        return await mine

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._answer(waiting)
        finally:
            self._asking = None

    async def _answer(self, waiting: list[asyncio.Future[T]]) -> None:
        outcome = asyncio.ensure_future(self._ask())
        await asyncio.wait({outcome})
        error = asyncio.CancelledError() if outcome.cancelled() else outcome.exception()
        for one in waiting:
            if one.done():  # Whoever waited has been cancelled.
                continue
            if error is not None:
                one.set_exception(error)
            else:
                one.set_result(outcome.result())

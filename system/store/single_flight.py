"""Concurrent callers of one query share its result ("single flight"), and no result is older than the call.

A plain single flight would let a caller join a query that started before the call. Its result may be from before a
change that the caller's client has seen already. So a caller that comes while a query is running waits for the next
one, which starts as soon as that one ends. At most one query runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Shares what the query `ask` returns or raises among concurrent callers."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._waiting: list[asyncio.Future[T]] = []
        self._asking: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """The result of a query that starts after this call."""
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
            if one.done():  # Its caller has been cancelled.
                continue
            if error is not None:
                one.set_exception(error)
            else:
                one.set_result(outcome.result())

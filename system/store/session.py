"""One connection to the primary for a background process (the relay, a consumer). It runs units of work, each with a
timeout, and finds the primary again after a failure.

A unit of work that fails may have been committed. The caller must be able to find out from what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from system.settings import Settings
from system.store.connect import BROKEN, NotSent, connect_primary

_WORK_WITHIN_S = 5.0

CAUSED_BY_VALUES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

T = TypeVar("T")


class Unavailable(Exception):
    """The work failed; it may or may not have been committed."""


class Session:
    """Runs one unit of work at a time. Calls `on_connect` with each new connection, before any work."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        on_connect: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._on_connect = on_connect
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """What `work` returns. Unavailable after an error of the database; the next run connects again. An error that
        the values caused (DataError, IntegrityConstraintViolationError) is raised as it is: nothing was done, and
        trying again would not help."""
        async with self._turn:
            return await self._run(work)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        task = asyncio.ensure_future(self._connect_and(work))
        try:
            finished, _ = await asyncio.wait({task}, timeout=_WORK_WITHIN_S)
            if not finished:
                # Closed rather than cancelled: see `system.store.connect`.
                self.close()
            return await task
        except CAUSED_BY_VALUES:
            raise
        except (NotSent, asyncpg.PostgresError, *BROKEN) as error:
            self.close()
            # A connection that ends inside a transaction raises twice; the first error has the reason.
            reason = error.__context__ or error
            raise Unavailable(str(reason) or f"no answer within {_WORK_WITHIN_S} s") from error
        except asyncio.CancelledError:
            self.close()
            task.cancel()
            raise

    async def _connect_and(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        if self._connection is None or self._connection.is_closed():
            _, self._connection = await connect_primary(self._settings, self._name)
            if self._on_connect is not None:
                await self._on_connect(self._connection)
        return await work(self._connection)

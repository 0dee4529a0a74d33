"""Requests that stay open until there is news: how they wait, notice a disconnected client, and are limited."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from litestar.types import Receive

from system.api.http.problems import ApiError, Refused


class Waiter:
    """A request that waits for news. A ring that comes while it is not waiting ends its next wait at once."""

    __slots__ = ("_future", "_rung", "gone")

    def __init__(self) -> None:
        self.gone = False
        """Whether its client has closed the connection."""
        self._rung = False
        self._future: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, within_s: float) -> None:
        """Wait for the next ring, at most `within_s`."""
        if not self._rung:
            self._future = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._future
            self._future = None
        self._rung = False


@contextlib.asynccontextmanager
async def watch_disconnect(receive: Receive, waiter: Waiter) -> AsyncIterator[None]:
    """While inside, a client that closes its connection sets `waiter.gone` and rings."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        waiter.gone = True
        waiter.ring()

    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watching.cancel()


class ConnectionLimit:
    """Limits the requests that wait at the same time: in this process, and of one client."""

    def __init__(self, most: int, most_a_client: int) -> None:
        self._most = most
        self._most_a_client = most_a_client
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    @contextlib.contextmanager
    def hold(self, client_id: str) -> Iterator[None]:
        """Count one more request of this client, while inside. ApiError 503 if the process has reached its limit,
        Refused (429) if the client has."""
        if self.taken >= self._most:
            raise ApiError(503, f"all {self._most} limit here are taken; try again later", {"retry-after": "10"})
        if self._taken[client_id] >= self._most_a_client:
            detail = f"{client_id} waits here {self._most_a_client} times already; close one first"
            raise Refused(429, detail, "too many connections that wait", {"retry-after": "10"})
        self._taken[client_id] += 1
        try:
            yield
        finally:
            self._taken[client_id] -= 1
            if not self._taken[client_id]:
                del self._taken[client_id]

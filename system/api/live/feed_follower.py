"""The base of both hubs: a background task that follows a feed for all requests that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from redis.asyncio import Redis

from system.api.http.problems import ApiError
from system.api.live.waiters import Waiter
from system.process import DependencyState, retry, set_within
from system.store.event_history import EventHistory
from system.store.reader import NothingToRead

POLL_EVERY_S = 5.0

_IDLE_S = 30.0
_READY_WITHIN_S = 3.0


class FeedFollower:
    """Follows a feed while a request waits for it, and half a minute longer.

    A subclass implements `follow`. It reads the region's Valkey, and every `poll_every_s` the database, which has what
    a Valkey may have lost.
    """

    def __init__(
        self, valkey: Redis, history: EventHistory, dependencies: DependencyState,
        poll_every_s: float, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._valkey = valkey
        self._history = history
        self._dependencies = dependencies
        self._poll_every_s = poll_every_s
        self._clock = clock
        self._waiters: set[Waiter] = set()
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._idle_since = 0.0
        self.ended = False
        """Whether this process is about to end: clients should reconnect to another one."""

    async def run(self) -> None:
        """Follow the feed whenever it is wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            self._idle_since = self._clock()
            try:
                await self.follow()
            finally:
                self._ready.clear()
                self.ring()

    async def follow(self) -> None:
        """Follow the feed: call `ready` once requests can wait, `ring` when there is news; return when `idle`."""
        raise NotImplementedError

    async def tails(self) -> dict[str, int] | None:
        """Partition -> last position, from the database; None if no member answers."""
        try:
            tails = await self._history.tails()
        except NothingToRead as error:
            self._dependencies.away("outbox", error)
            return None
        self._dependencies.back("outbox")
        return tails

    async def first_tails(self) -> dict[str, int]:
        """Partition -> last position, from the database; waits until a member answers."""
        return await retry(self._history.tails, NothingToRead, self._dependencies, "outbox")

    def ready(self) -> None:
        """Let requests wait."""
        self._ready.set()

    def ring(self) -> None:
        """Wake every waiting request."""
        for waiter in self._waiters:
            waiter.ring()

    def idle(self) -> bool:
        """Whether no request has waited for a while."""
        if self._waiters:
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since >= _IDLE_S:
            # Cleared here, so that a request that comes now waits until the feed is followed again.
            self._wanted.clear()
            self._ready.clear()
            return True
        return False

    def end(self) -> None:
        """End every waiting request."""
        self.ended = True
        self.ring()

    @contextlib.asynccontextmanager
    async def joined(self) -> AsyncIterator[Waiter]:
        """A waiter for news, while inside. ApiError 503 if the feed is not being followed within a few seconds."""
        waiter = Waiter()
        self._waiters.add(waiter)
        self._wanted.set()
        try:
            if not await set_within(self._ready, _READY_WITHIN_S):
                raise not_ready()
            yield waiter
        finally:
            self._waiters.discard(waiter)


def not_ready() -> ApiError:
    """The 503 of a process that does not follow the feed yet."""
    return ApiError(503, "this process does not know yet what happens; try again", {"retry-after": "1"})

"""What the two endpoints share that keep a client waiting for news: who waits, how many may, who has gone away, and
something in the background that follows the news as long as somebody wants them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from litestar.types import Receive
from redis.asyncio import Redis

from system.api.http.problems import ApiError, Refused
from system.process import DependencyState, set_within
from system.store.event_history import EventHistory
from system.store.reader import NothingToRead

LOOK_EVERY_S = 5.0

_IDLE_S = 30.0
_READY_WITHIN_S = 3.0


class Waiter:
    """One that waits for a ring; a ring while it does not wait is kept for when it does."""

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
        """Until the next ring, or so many seconds."""
        if not self._rung:
            self._future = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._future
            self._future = None
        self._rung = False


@contextlib.asynccontextmanager
async def watched(receive: Receive, waiter: Waiter) -> AsyncIterator[None]:
    """Inside, a client that closes its connection is noticed at once: `waiter.gone`, with a ring."""

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


class Places:
    """How many may wait at the same time: in this process, and of one client."""

    def __init__(self, most: int, most_a_client: int) -> None:
        self._most = most
        self._most_a_client = most_a_client
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    @contextlib.contextmanager
    def take(self, client_id: str) -> Iterator[None]:
        """A place while inside. ApiError 503 if all are taken, Refused (429) if the client has too many."""
        if self.taken >= self._most:
            raise ApiError(503, f"all {self._most} places here are taken; try again later", {"retry-after": "10"})
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


class Follower:
    """Follows the news while somebody waits for them, and half a minute longer. A subclass implements `follow`: by
    the region's Valkey, and every `look_every_s` by the database, which knows what a Valkey may have lost."""

    def __init__(
        self, valkey: Redis, history: EventHistory, dependencies: DependencyState,
        look_every_s: float, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._valkey = valkey
        self._history = history
        self._dependencies = dependencies
        self._look_every_s = look_every_s
        self._clock = clock
        self._waiters: set[Waiter] = set()
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._idle_since = 0.0
        self.ended = False
        """Whether this process is about to end: whoever waits should come back to another one."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            self._idle_since = self._clock()
            try:
                await self.follow()
            finally:
                self._ready.clear()
                self.ring()

    async def follow(self) -> None:
        """Call `ready` when there is something to wait for, `ring` with news; return once `idle`."""
        raise NotImplementedError

    async def tails(self) -> dict[str, int] | None:
        """The last position in each partition, as the database knows it; None if no member answers."""
        try:
            tails = await self._history.tails()
        except NothingToRead as error:
            self._dependencies.away("outbox", error)
            return None
        self._dependencies.back("outbox")
        return tails

    def ready(self) -> None:
        self._ready.set()

    def ring(self) -> None:
        for waiter in self._waiters:
            waiter.ring()

    def idle(self) -> bool:
        """Whether nobody has waited for a while."""
        if self._waiters:
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since >= _IDLE_S:
            # At once, so that whoever comes now waits for the next beginning.
            self._wanted.clear()
            self._ready.clear()
            return True
        return False

    def end(self) -> None:
        """Send everybody away."""
        self.ended = True
        self.ring()

    @contextlib.asynccontextmanager
    async def joined(self) -> AsyncIterator[Waiter]:
        """One more that waits, while inside. ApiError 503 if there is nothing to wait for yet."""
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
    """The 503 of a process that has nothing to wait for yet."""
    return ApiError(503, "this process does not know yet what happens; try again", {"retry-after": "1"})

"""The hub of the event stream: follows the feed in the region's Valkey, keeps the latest events in a log, and wakes the
subscribers of this process.

The feed is a cache of the outbox. It has gaps after Valkey was emptied, while its consumer is down, or where a position
was replayed later. The hub fills a gap from the outbox once for all subscribers; if the gap is too large it passes over
the events, and subscribers read them from the outbox themselves. Every few seconds it also reads from the outbox what
the feed still lacks.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from redis import RedisError
from redis.asyncio import Redis

from system.api.live.feed_follower import POLL_EVERY_S, FeedFollower, not_ready
from system.domain.event_log import EventLog
from system.process import Backoff, DependencyState, retry
from system.store.event_history import EventHistory, Gone
from system.store.reader import NothingToRead
from system.store.valkey.event_feed import read_feed

LOG_ENTRIES_MAX = 10_000
LOG_BYTES_MAX = 16 * 1024 * 1024
_BEGIN_BEHIND = 200
"""Events a partition that a new log starts with, for subscribers that reconnect after a restart of the process."""
_FILL_MAX = 2_000
_PAGE = 500
_BLOCK_S = 1.0


class _Head(msgspec.Struct):
    type: str
    aggregate: str


_head = msgspec.json.Decoder(_Head).decode


def text_of(event: bytes) -> bytes:
    """An event (its JSON, which is one line) as a server-sent event, without the id."""
    head = _head(event)
    return b"event: %s.%s\ndata: %s\n" % (head.aggregate.encode(), head.type.encode(), event)


class EventHub(FeedFollower):
    """`log` is None while there are no subscribers. A cursor is valid only as long as its log is the hub's."""

    def __init__(
        self, valkey: Redis, history: EventHistory, dependencies: DependencyState, poll_every_s: float = POLL_EVERY_S
    ) -> None:
        super().__init__(valkey, history, dependencies, poll_every_s)
        self.log: EventLog | None = None
        self.filled = 0
        """How many events came from the outbox rather than from the feed, or were passed over."""

    def current_log(self) -> EventLog:
        """The log, for a request that has joined. ApiError 503 if the hub has stopped following meanwhile."""
        if self.log is None:
            raise not_ready()
        return self.log

    async def follow(self) -> None:
        backoff = Backoff()
        try:
            self.log = await self._begin()
            tails = self.log.positions.copy()
            poll_at = self._clock() + self._poll_every_s
            self.ready()
            while not self.idle():
                if not await self._read(self.log, min(_BLOCK_S, self._poll_every_s)):
                    await backoff.wait()
                if self._clock() >= poll_at:
                    tails = await self._poll(self.log, tails)
                    poll_at = self._clock() + self._poll_every_s
        finally:
            self.log = None

    async def _begin(self) -> EventLog:
        """A log up to the database's current positions, filled from the feed, and from the outbox where that lacks
        events."""
        tails = await self.first_tails()
        start = {partition: max(0, tail - _BEGIN_BEHIND) for partition, tail in tails.items()}
        log = EventLog(start, LOG_ENTRIES_MAX, LOG_BYTES_MAX)
        await self._read(log, 0)
        for partition, tail in tails.items():
            await self._fill(log, partition, tail)
        return log

    async def _read(self, log: EventLog, wait_s: float) -> bool:
        """Append what is in the feed. Returns whether Valkey answered."""
        try:
            found = await read_feed(self._valkey, log.positions, _PAGE, wait_s)
        except RedisError as error:
            self._dependencies.away("feed", error)
            return False
        self._dependencies.back("feed")
        for partition, entries in found.items():
            await self._take(log, partition, entries)
        if found:
            self.ring()
        return True

    async def _take(self, log: EventLog, partition: str, entries: Iterable[tuple[int, bytes]]) -> None:
        for position, event in entries:
            if position > log.positions[partition]:
                await self._fill(log, partition, position - 1)
                log.append(partition, position, text_of(event))

    async def _poll(self, log: EventLog, before: dict[str, int]) -> dict[str, int]:
        """Fill in from the outbox what it had at the last poll and the feed has not brought since. Returns the outbox's
        current positions."""
        for partition, tail in before.items():
            await self._fill(log, partition, tail)
        tails = await self.tails()
        return before if tails is None else tails

    async def _fill(self, log: EventLog, partition: str, until: int) -> None:
        """Advance a partition to position `until` without the feed."""
        start = log.positions[partition]
        while log.positions[partition] < until:
            await retry(lambda: self._fill_page(log, partition, until), NothingToRead, self._dependencies, "outbox")
            self.ring()
        self.filled += max(0, until - start)

    async def _fill_page(self, log: EventLog, partition: str, until: int) -> None:
        """Append the next events from the outbox, or pass over all up to `until` if they are too many or pruned."""
        missing = until - log.positions[partition]
        if missing > _FILL_MAX:
            log.pass_over(partition, until)
            return
        try:
            events = await self._history.after(partition, log.positions[partition], min(missing, _PAGE))
        except Gone:
            log.pass_over(partition, until)
            return
        for event in events:
            log.append(partition, event.position, text_of(event.data))

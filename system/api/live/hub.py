"""One for all subscribers of this process: follows the feed in the region's Valkey, keeps the last events in a row,
and tells everybody when there are more.

The feed is the short cut; the outbox is what counts. Where the feed has a hole (an emptied Valkey, a consumer that
is away, a position made up for later) the hub reads the outbox once for everybody, or passes over what is too much
and leaves it to those who want it. Every few seconds it looks whether the outbox has something that the feed did not
bring in all that time.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from redis import RedisError
from redis.asyncio import Redis

from system.api.live.following import LOOK_EVERY_S, Follower, not_ready
from system.domain.event_log import EventLog
from system.process import Backoff, DependencyState
from system.store.event_history import EventHistory, Gone
from system.store.reader import NothingToRead
from system.store.valkey.event_feed import read_feed

ROW_ENTRIES_MAX = 10_000
ROW_BYTES_MAX = 16 * 1024 * 1024
_BEGIN_BEHIND = 200
"""Events of each partition that a new row begins with: those who reconnect after a restart find theirs."""
_FILL_MAX = 2_000
_PAGE = 500
_BLOCK_S = 1.0


class _Head(msgspec.Struct):
    type: str
    aggregate: str


_head = msgspec.json.Decoder(_Head).decode


def text_of(event: bytes) -> bytes:
    """What a subscriber is sent of an event (its JSON, which is one line), without the id."""
    head = _head(event)
    return b"event: %s.%s\ndata: %s\n" % (head.aggregate.encode(), head.type.encode(), event)


class Hub(Follower):
    """`row` is None while nobody listens; a cursor in a row that is not the hub's any more leads nowhere."""

    def __init__(
        self, valkey: Redis, history: EventHistory, dependencies: DependencyState, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        super().__init__(valkey, history, dependencies, look_every_s)
        self.row: EventLog | None = None
        self.filled = 0
        """How many events the feed did not bring."""

    def row_now(self) -> EventLog:
        """For one who has joined. ApiError 503 if the hub has failed meanwhile."""
        if self.row is None:
            raise not_ready()
        return self.row

    async def follow(self) -> None:
        backoff = Backoff()
        try:
            self.row = await self._begin(backoff)
            tails = self.row.positions.copy()
            look_at = self._clock() + self._look_every_s
            self.ready()
            while not self.idle():
                if not await self._read(self.row, min(_BLOCK_S, self._look_every_s)):
                    await backoff.wait()
                if self._clock() >= look_at:
                    tails = await self._look(self.row, tails)
                    look_at = self._clock() + self._look_every_s
        finally:
            self.row = None

    async def _begin(self, backoff: Backoff) -> EventLog:
        """A row up to what the database knows now, from the feed as far as that has it."""
        while (tails := await self.tails()) is None:
            await backoff.wait()
        backoff.reset()
        start = {partition: max(0, tail - _BEGIN_BEHIND) for partition, tail in tails.items()}
        row = EventLog(start, ROW_ENTRIES_MAX, ROW_BYTES_MAX)
        await self._read(row, 0)
        for partition, tail in tails.items():
            await self._fill(row, partition, tail)
        return row

    async def _read(self, row: EventLog, wait_s: float) -> bool:
        """Take what is in the feed; whether Valkey answered."""
        try:
            found = await read_feed(self._valkey, row.positions, _PAGE, wait_s)
        except RedisError as error:
            self._dependencies.away("feed", error)
            return False
        self._dependencies.back("feed")
        for partition, entries in found.items():
            await self._take(row, partition, entries)
        if found:
            self.ring()
        return True

    async def _take(self, row: EventLog, partition: str, entries: Iterable[tuple[int, bytes]]) -> None:
        for position, event in entries:
            if position > row.positions[partition]:
                await self._fill(row, partition, position - 1)
                row.append(partition, position, text_of(event))

    async def _look(self, row: EventLog, before: dict[str, int]) -> dict[str, int]:
        """Read from the outbox what was there at the last look already and has not come since; what is there now."""
        for partition, tail in before.items():
            await self._fill(row, partition, tail)
        tails = await self.tails()
        return before if tails is None else tails

    async def _fill(self, row: EventLog, partition: str, until: int) -> None:
        """Go on to position `until` without the feed."""
        backoff = Backoff()
        while row.positions[partition] < until:
            missing = until - row.positions[partition]
            self.filled += missing
            try:
                if missing > _FILL_MAX:
                    row.pass_over(partition, until)
                else:
                    for event in await self._history.after(partition, row.positions[partition], min(missing, _PAGE)):
                        row.append(partition, event.position, text_of(event.data))
            except Gone:
                row.pass_over(partition, until)
            except NothingToRead as error:
                self._dependencies.away("outbox", error)
                await backoff.wait()
                continue
            self._dependencies.back("outbox")
            self.ring()

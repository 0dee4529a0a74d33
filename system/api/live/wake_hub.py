"""The hub of the wake-up long poll: knows the region's positions, and wakes the waiting devices of this process.

It subscribes once, for all devices, to the notices of the region's wake-up feed. A notice can be missed and Valkey can
be emptied, so every few seconds it also reads the positions in Valkey and in the database.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis import RedisError
from redis.asyncio import Redis

from system.api.live.feed_follower import POLL_EVERY_S, FeedFollower
from system.api.live.waiters import ConnectionLimit
from system.process import Backoff, DependencyState
from system.store.event_history import EventHistory
from system.store.valkey.client import answer
from system.store.valkey.wake_feed import CHANGED, moved, read_positions

WAITING_MAX = 20_000
WAITING_A_CLIENT_MAX = 10_000
_LISTEN_S = 1.0


class WakeHub(FeedFollower):
    """`positions`: partition -> the highest position seen."""

    def __init__(
        self, valkey: Redis, history: EventHistory, dependencies: DependencyState, poll_every_s: float = POLL_EVERY_S
    ) -> None:
        super().__init__(valkey, history, dependencies, poll_every_s)
        self.positions: dict[str, int] = {}
        self.limit = ConnectionLimit(WAITING_MAX, WAITING_A_CLIENT_MAX)

    async def follow(self) -> None:
        backoff = Backoff()
        self._learn(await self.first_tails())
        self.ready()
        while not self.idle():
            try:
                await self._listen(backoff)
            except RedisError as error:
                self._dependencies.away("wake-up feed", error)
                await backoff.wait()
                await self._poll()

    async def _listen(self, backoff: Backoff) -> None:
        """Receive notices until idle."""
        async with self._valkey.pubsub(ignore_subscribe_messages=True) as channel:
            await answer(channel.subscribe(CHANGED))
            poll_at = self._clock()
            while not self.idle():
                if self._clock() >= poll_at:
                    self._learn(await read_positions(self._valkey))
                    await self._poll()
                    poll_at = self._clock() + self._poll_every_s
                notice = await answer(channel.get_message(timeout=min(_LISTEN_S, self._poll_every_s)))
                self._dependencies.back("wake-up feed")
                backoff.reset()
                if notice is not None:
                    self._learn(moved(notice["data"]))

    async def _poll(self) -> None:
        """Learn the database's positions, if a member answers."""
        self._learn(await self.tails() or {})

    def _learn(self, positions: Mapping[str, int]) -> None:
        news = {name: at for name, at in positions.items() if at > self.positions.get(name, 0)}
        if news:
            self.positions |= news
            self.ring()

"""How far the region is, for all devices that wait for it to get further.

News come from the region's wake-up feed, by a notice that one connection hears for all who wait. A notice can be
missed and a Valkey emptied, so every few seconds the positions there and in the database are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis import RedisError
from redis.asyncio import Redis

from system.api.live.following import LOOK_EVERY_S, Follower, Places
from system.process import Backoff, DependencyState
from system.store.event_history import EventHistory
from system.store.valkey.client import answer
from system.store.valkey.wake_feed import CHANGED, moved, read_positions

WAITING_MAX = 20_000
WAITING_A_CLIENT_MAX = 10_000
_LISTEN_S = 1.0


class Wakes(Follower):
    """`positions` is how far the region is known to be, in each partition."""

    def __init__(
        self, valkey: Redis, history: EventHistory, dependencies: DependencyState, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        super().__init__(valkey, history, dependencies, look_every_s)
        self.positions: dict[str, int] = {}
        self.places = Places(WAITING_MAX, WAITING_A_CLIENT_MAX)

    async def follow(self) -> None:
        backoff = Backoff()
        while not await self._look():
            await backoff.wait()
        self.ready()
        while not self.idle():
            try:
                await self._listen(backoff)
            except RedisError as error:
                self._dependencies.away("wake-up feed", error)
                await backoff.wait()
                await self._look()

    async def _listen(self, backoff: Backoff) -> None:
        """Hear notices until idle."""
        async with self._valkey.pubsub(ignore_subscribe_messages=True) as channel:
            await answer(channel.subscribe(CHANGED))
            look_at = self._clock()
            while not self.idle():
                if self._clock() >= look_at:
                    self._learn(await read_positions(self._valkey))
                    await self._look()
                    look_at = self._clock() + self._look_every_s
                notice = await answer(channel.get_message(timeout=min(_LISTEN_S, self._look_every_s)))
                self._dependencies.back("wake-up feed")
                backoff.reset()
                if notice is not None:
                    self._learn(moved(notice["data"]))

    async def _look(self) -> bool:
        """Learn what the database knows; whether it answered."""
        tails = await self.tails()
        self._learn(tails or {})
        return tails is not None

    def _learn(self, positions: Mapping[str, int]) -> None:
        news = {name: at for name, at in positions.items() if at > self.positions.get(name, 0)}
        if news:
            self.positions |= news
            self.ring()

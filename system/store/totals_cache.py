"""The cached totals of all regions in a region's Valkey, and how they are invalidated.

Invalidating is what the cache invalidator does with its events (`INVALIDATE`, run by `system.store.regional`, which
moves its positions in the same instant). Filling is refused unless the value is as recent as everything that was
invalidated: a slow reader cannot put back what an event has just removed. Only events of countries and projects
change the totals. A value lives for a minute at most, so that a dead invalidator bounds how stale it can get.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from redis import RedisError
from redis.asyncio import Redis

from system.process import DependencyState
from system.store.next_answer import NextAnswer
from system.store.regional import answer, keys_of

INVALIDATOR = "cache-invalidator"
TOTALS = "covenant:totals"
POSITIONS = keys_of(INVALIDATOR).positions
_LIFE_S = 60
_LEAVE_ALONE_S = 1.0

_CONCERNED = """
local function concerned(partition)
    return string.find(partition, '^countries%.') or string.find(partition, '^projects%.')
end
"""
INVALIDATE = f"""{_CONCERNED}
for _, move in ipairs(moves) do
    if concerned(move.partition) then redis.call('DEL', KEYS[2]) break end
end
"""
"""Commands for `Regional`, with the key TOTALS."""
_FILL = f"""{_CONCERNED}
local as_of = cjson.decode(ARGV[2])
local positions = redis.call('HGETALL', KEYS[2])
for i = 1, #positions, 2 do
    if concerned(positions[i]) and tonumber(positions[i + 1]) > (as_of[positions[i]] or 0) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
"""


class TotalsCache:
    """What the API uses. A cache that is away or slow is no error: it is left alone for a second, and the
    answers come from the database."""

    def __init__(self, client: Redis, dependencies: DependencyState) -> None:
        self._client = client
        self._dependencies = dependencies
        self._fill = client.register_script(_FILL)
        self._next = NextAnswer(lambda: self._try(lambda: client.get(TOTALS)))
        self._leave_alone_until = 0.0

    async def ping(self) -> None:
        """redis.RedisError if it does not answer."""
        await answer(self._client.ping())
        self._dependencies.back("valkey")

    async def get(self) -> bytes | None:
        """The cached value, if there is one. Whoever waits at the same time shares one question to Valkey."""
        value: bytes | None = await self._next.get()
        return value

    async def fill(self, value: bytes, as_of: Mapping[str, int]) -> None:
        """Offer a value as of these positions; an older one than what was invalidated is refused."""
        arguments: list[bytes | int] = [value, msgspec.json.encode(as_of), _LIFE_S]
        await self._try(lambda: self._fill(keys=[TOTALS, POSITIONS], args=arguments))

    async def close(self) -> None:
        await self._client.aclose()

    async def _try(self, command: Callable[[], Awaitable[Any]]) -> Any:
        if time.monotonic() < self._leave_alone_until:
            return None
        try:
            found = await answer(command())
        except RedisError as error:
            self._dependencies.away("valkey", error)
            self._leave_alone_until = time.monotonic() + _LEAVE_ALONE_S
            return None
        self._dependencies.back("valkey")
        return found

"""The totals of all regions, cached in each region's Valkey, and how they are invalidated.

The cache invalidator deletes them with its events: `INVALIDATE` runs in the script that moves its positions (see
`consumer_state`). A value is stored only if it is as recent as those positions, so a slow reader cannot put back what
an event has just invalidated. Only events of countries and projects change the totals. A value expires after a minute,
which bounds how stale it can get if the invalidator is down.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from redis import RedisError
from redis.asyncio import Redis

from system.process import DependencyState
from system.store.single_flight import SingleFlight
from system.store.valkey.client import answer
from system.store.valkey.consumer_state import keys_of

INVALIDATOR = "cache-invalidator"
TOTALS = "covenant:totals"
POSITIONS = keys_of(INVALIDATOR).positions
_LIFE_S = 60
_UNUSED_FOR_S = 1.0

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
"""Commands for `ConsumerState`; KEYS[2] is TOTALS."""
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
    """The API's side of the cache. A cache that is unavailable or slow is no error: it is not used for a second, and
    the API reads from the database."""

    def __init__(self, client: Redis, dependencies: DependencyState) -> None:
        self._client = client
        self._dependencies = dependencies
        self._fill = client.register_script(_FILL)
        self._get = SingleFlight(lambda: self._try(lambda: client.get(TOTALS)))
        self._unused_until = 0.0

    async def ping(self) -> None:
        """redis.RedisError if Valkey does not answer."""
        await answer(self._client.ping())
        self._dependencies.back("valkey")

    async def get(self) -> bytes | None:
        """The cached value, or None. Concurrent callers share one command."""
        value: bytes | None = await self._get.get()
        return value

    async def fill(self, value: bytes, as_of: Mapping[str, int]) -> None:
        """Store a value as of these positions (by partition), unless it is older than the last invalidation."""
        arguments: list[bytes | int] = [value, msgspec.json.encode(as_of), _LIFE_S]
        await self._try(lambda: self._fill(keys=[TOTALS, POSITIONS], args=arguments))

    async def close(self) -> None:
        await self._client.aclose()

    async def _try(self, command: Callable[[], Awaitable[Any]]) -> Any:
        if time.monotonic() < self._unused_until:
            return None
        try:
            found = await answer(command())
        except RedisError as error:
            self._dependencies.away("valkey", error)
            self._unused_until = time.monotonic() + _UNUSED_FOR_S
            return None
        self._dependencies.back("valkey")
        return found

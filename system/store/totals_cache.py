"""The cached totals of all regions in a region's Valkey, and how they are invalidated.

Two scripts, each atomic in Valkey. Invalidating moves the positions by compare-and-set, deletes the cached
value and writes the trace of what it did. Filling is refused unless the value is as recent as everything
that was invalidated: a slow reader cannot put back what an event has just removed. A value lives for a
minute at most, so that a dead invalidator bounds how stale it can get.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from system.process import Surroundings
from system.settings import Settings

TOTALS = "covenant:totals"
POSITIONS = "covenant:positions"
"""Hash: partition -> the position up to which events were applied."""
EFFECTS = "covenant:effects"
"""Hash: partition -> how many events were applied."""
TRACE = "covenant:trace:"
"""List for each partition: the ranges that were applied, `first-last`, the last 100,000."""
_TRACE_LENGTH_MAX = 100_000
_LIFE_S = 60
_LEAVE_ALONE_S = 1.0
_CONNECTIONS_MAX = 64

_INVALIDATE = """
local moves = cjson.decode(ARGV[1])
for _, move in ipairs(moves) do
    if (redis.call('HGET', KEYS[2], move[1]) or '') ~= move[2] then return 0 end
end
redis.call('DEL', KEYS[1])
for _, move in ipairs(moves) do
    redis.call('HSET', KEYS[2], move[1], move[3])
    redis.call('HINCRBY', KEYS[3], move[1], move[4])
    for _, range in ipairs(move[5]) do redis.call('RPUSH', KEYS[4] .. move[1], range) end
    redis.call('LTRIM', KEYS[4] .. move[1], -tonumber(ARGV[2]), -1)
end
return 1
"""
_FILL = """
local as_of = cjson.decode(ARGV[2])
local positions = redis.call('HGETALL', KEYS[2])
for i = 1, #positions, 2 do
    if tonumber(positions[i + 1]) > (as_of[positions[i]] or 0) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
"""


def connect(settings: Settings, timeout_s: float) -> Redis:
    """A client of the region's Valkey; connects when first used, and each command has this deadline."""
    host, _, port = settings.valkey.rpartition(":")
    return Redis(
        host=host,
        port=int(port),
        password=settings.valkey_password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=_CONNECTIONS_MAX,
        retry=Retry(NoBackoff(), 0),
    )


class TotalsCache:
    """What the API uses. A cache that is away or slow is no error: it is left alone for a second, and the
    answers come from the database."""

    def __init__(self, client: Redis, surroundings: Surroundings) -> None:
        self._client = client
        self._surroundings = surroundings
        self._fill = client.register_script(_FILL)
        self._leave_alone_until = 0.0

    async def ping(self) -> None:
        """redis.RedisError if it does not answer."""
        await _answer(self._client.ping())
        self._surroundings.back("valkey")

    async def get(self) -> bytes | None:
        """The cached value, if there is one."""
        value: bytes | None = await self._try(lambda: self._client.get(TOTALS))
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
            answer = await command()
        except RedisError as error:
            self._surroundings.away("valkey", error)
            self._leave_alone_until = time.monotonic() + _LEAVE_ALONE_S
            return None
        self._surroundings.back("valkey")
        return answer


class Invalidator:
    """What the cache invalidator uses."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._invalidate = client.register_script(_INVALIDATE)

    async def positions(self) -> dict[str, int]:
        """The positions that this Valkey remembers; none if it has been emptied."""
        stored: dict[bytes, bytes] = await _answer(self._client.hgetall(POSITIONS))
        return {partition.decode(): int(position) for partition, position in stored.items()}

    async def invalidate(self, moves: Sequence[tuple[str, int | None, int, int, Sequence[tuple[int, int]]]]) -> bool:
        """Delete the cached value and move positions: (partition, before, after, events, ranges) each, a
        `before` of None meaning that there was no position. False if a position was not what it was."""
        encoded = msgspec.json.encode([
            (partition, "" if before is None else str(before), str(after), events,
             [f"{first}-{last}" for first, last in ranges])
            for partition, before, after, events, ranges in moves
        ])  # fmt: skip
        keys = [TOTALS, POSITIONS, EFFECTS, TRACE]
        return bool(await self._invalidate(keys=keys, args=[encoded, _TRACE_LENGTH_MAX]))

    async def close(self) -> None:
        await self._client.aclose()


async def _answer(command: Any) -> Any:
    """redis-py types its commands for both worlds at once; in this one they are awaited."""
    return await command

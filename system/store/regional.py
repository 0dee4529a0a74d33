"""What a consumer that runs once a region keeps in its region's Valkey: positions, effects, and the trace of them.

One script for all of these consumers, atomic in Valkey: it compares the positions with what the consumer believes,
runs the consumer's own commands, moves the positions, counts and writes the trace. So no effect is there without
its position, and none twice. A script that fails halfway would break that: a consumer's commands must not fail.

Keys of a consumer start with `covenant:<consumer>` (see `keys_of`); they need no region, since each has its own
Valkey.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from system.settings import Settings
from system.wire import observer
from system.wire.observer import TRACE_LENGTH_MAX

_CONNECTIONS_MAX = 64
_PASSING = frozenset({"BUSY", "MISCONF", "NOREPLICAS", "UNKILLABLE"})
"""Codes of refusals that have to do with the state of Valkey, among those that redis-py has no class for."""

# KEYS[1] is the prefix of the consumer's keys, KEYS[2] and on are its own; ARGV[3] and on are its own arguments.
_APPLY = """
local moves = cjson.decode(ARGV[1])
local positions = KEYS[1] .. ':positions'
for _, move in ipairs(moves) do
    if (redis.call('HGET', positions, move.partition) or '') ~= move.before then return 0 end
    for _, position in ipairs(move.replayed) do
        if redis.call('SISMEMBER', KEYS[1] .. ':skipped:' .. move.partition, position) == 0 then return 0 end
    end
end
{commands}
for _, move in ipairs(moves) do
    redis.call('HSET', positions, move.partition, move.after)
    redis.call('HINCRBY', KEYS[1] .. ':effects', move.partition, move.events)
    for _, position in ipairs(move.replayed) do
        redis.call('SREM', KEYS[1] .. ':skipped:' .. move.partition, position)
    end
    local trace = KEYS[1] .. ':trace:' .. move.partition
    for _, range in ipairs(move.ranges) do redis.call('RPUSH', trace, range) end
    redis.call('LTRIM', trace, -tonumber(ARGV[2]), -1)
end
return 1
"""
_SKIP = """
local positions = KEYS[1] .. ':positions'
local position = redis.call('HGET', positions, ARGV[1]) or ARGV[3]
if tonumber(position) + 1 ~= tonumber(ARGV[2]) then return end
redis.call('HSET', positions, ARGV[1], ARGV[2])
redis.call('SADD', KEYS[1] .. ':skipped:' .. ARGV[1], ARGV[2])
"""


class Keys(NamedTuple):
    """The names under which a consumer keeps things; `trace` and `skipped` are completed by a partition."""

    prefix: str
    positions: str
    """Hash: partition -> the position up to which events were applied."""
    effects: str
    """Hash: partition -> how many events were applied."""
    trace: str
    """List for each partition: the ranges that were applied, `first-last`, the last TRACE_LENGTH_MAX."""
    skipped: str
    """Set for each partition: positions that were moved past without their effect."""


def keys_of(consumer: str) -> Keys:
    """`keys_of("mobile-sync").positions == "covenant:mobile-sync:positions"`."""
    prefix = observer.key_prefix(consumer)
    return Keys(
        prefix,
        observer.positions_key(consumer),
        f"{prefix}:effects",
        observer.trace_key(consumer, ""),
        f"{prefix}:skipped:",
    )


@dataclass(frozen=True, kw_only=True)
class Move:
    """What is to be applied of one partition. `before` is the position that it is believed to have, None if there
    is none; `after` is the same if only skipped positions are `replayed`."""

    partition: str
    before: int | None
    after: int
    ranges: Sequence[tuple[int, int]]
    replayed: Sequence[int] = ()


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


def is_fault(error: RedisError) -> bool:
    """Whether a script failed for what it was given or for what it says, so that trying again does not help. A Valkey
    that is loading, read-only, full or without the script says so too; redis-py has classes for most of that."""
    return type(error) is ResponseError and str(error).partition(" ")[0] not in _PASSING


async def answer(command: Any) -> Any:
    """What Valkey answers; every command is awaited here. redis-py sends with asyncio.wait_for, which before Python
    3.12 forgets that its task was cancelled if what it waits for is done at that moment: the task would go on."""
    found = await command
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return found


class Regional:
    """A consumer's positions and effects. `commands` is Lua, run between the comparison and the moves: it sees
    `moves` (a table of Move), its own `keys` from KEYS[2] and its arguments from ARGV[3]. Every method raises
    redis.RedisError if Valkey does not answer; then its work may have been done. See `is_fault`."""

    def __init__(self, client: Redis, consumer: str, commands: str = "", keys: Sequence[str] = ()) -> None:
        self._client = client
        self._keys = keys_of(consumer)
        self._own_keys = keys
        self._apply = client.register_script(_APPLY.replace("{commands}", commands))
        self._skip = client.register_script(_SKIP)

    async def positions(self) -> dict[str, int]:
        """The positions that this Valkey remembers; none if it has been emptied."""
        stored: dict[bytes, bytes] = await answer(self._client.hgetall(self._keys.positions))
        return {partition.decode(): int(position) for partition, position in stored.items()}

    async def skipped(self, positions: Mapping[str, Iterable[int]]) -> dict[str, set[int]]:
        """Which of these positions, by partition, were moved past without their effect."""
        asked = {partition: list(ones) for partition, ones in positions.items()}
        pipeline = self._client.pipeline(transaction=False)
        for partition, ones in asked.items():
            pipeline.smismember(f"{self._keys.skipped}{partition}", ones)
        answers = await answer(pipeline.execute())
        return {
            partition: {one for one, is_member in zip(ones, members, strict=True) if is_member}
            for (partition, ones), members in zip(asked.items(), answers, strict=True)
        }

    async def apply(self, moves: Sequence[Move], arguments: Sequence[bytes | str] = ()) -> bool:
        """Run the consumer's commands and move the positions. False, and nothing done, if a position is not what
        it was believed to be."""
        encoded = msgspec.json.encode([_encodable(move) for move in moves])
        keys = [self._keys.prefix, *self._own_keys]
        return bool(await answer(self._apply(keys=keys, args=[encoded, TRACE_LENGTH_MAX, *arguments])))

    async def skip(self, partition: str, position: int, origin: int) -> None:
        """Move past the next position without its effect, and remember it. Does nothing unless it is the next
        one: what is behind was applied or skipped before. `origin` counts if there is no position."""
        await answer(self._skip(keys=[self._keys.prefix], args=[partition, position, origin]))

    async def close(self) -> None:
        await self._client.aclose()


def _encodable(move: Move) -> dict[str, object]:
    """Positions as strings: what Lua compares is what Valkey stores."""
    return {
        "partition": move.partition,
        "before": "" if move.before is None else str(move.before),
        "after": str(move.after),
        "events": sum(last - first + 1 for first, last in move.ranges),
        "ranges": [f"{first}-{last}" for first, last in move.ranges],
        "replayed": [str(position) for position in move.replayed],
    }

"""What a regional consumer keeps in its region's Valkey: its positions, its effect, and a trace of what it applied.

All regional consumers share one Lua script, which Valkey runs atomically. The script compares the stored positions
with those that the consumer expects, runs the consumer's own commands, then updates positions, counts and trace. So
no effect is stored without its position, and none is stored twice. A script that fails halfway is not rolled back,
so a consumer's commands must not fail.

Keys start with `covenant:<consumer>` (see `keys_of`). They name no region, since each region has a Valkey of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis

from system.store.valkey.client import answer
from system.wire import observer
from system.wire.observer import TRACE_LENGTH_MAX

# KEYS[1] is the prefix of the consumer's keys. KEYS[2] and on, and ARGV[3] and on, are for its own commands.
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
    """The keys of a consumer; a partition's name is appended to `trace` and `skipped`."""

    prefix: str
    positions: str
    """Hash: partition -> the position up to which events were applied."""
    effects: str
    """Hash: partition -> how many events were applied."""
    trace: str
    """List for each partition: the ranges that were applied, `first-last`, the last TRACE_LENGTH_MAX."""
    skipped: str
    """Set for each partition: positions that the consumer moved past without applying them."""


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
    """What to apply of one partition. `before` is the position that is expected to be stored, None for none. `after`
    is the new one; it equals `before` if only skipped positions are `replayed`."""

    partition: str
    before: int | None
    after: int
    ranges: Sequence[tuple[int, int]]
    replayed: Sequence[int] = ()


class ConsumerState:
    """A regional consumer's positions and effect.

    `commands` is Lua that the script runs after comparing the positions and before moving them. It sees `moves` (a
    table of Move), its own `keys` from KEYS[2] on and its arguments from ARGV[3] on. Every method raises
    redis.RedisError if Valkey does not answer; its work may have been done then. See `client.is_fault`.
    """

    def __init__(self, client: Redis, consumer: str, commands: str = "", keys: Sequence[str] = ()) -> None:
        self._client = client
        self._keys = keys_of(consumer)
        self._own_keys = keys
        self._apply = client.register_script(_APPLY.replace("{commands}", commands))
        self._skip = client.register_script(_SKIP)

    async def positions(self) -> dict[str, int]:
        """Partition -> position, as stored; empty if this Valkey has been emptied."""
        stored: dict[bytes, bytes] = await answer(self._client.hgetall(self._keys.positions))
        return {partition.decode(): int(position) for partition, position in stored.items()}

    async def skipped(self, positions: Mapping[str, Iterable[int]]) -> dict[str, set[int]]:
        """Which of these positions, by partition, were skipped."""
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
        """Run the consumer's commands and move the positions. False, with nothing done, if a stored position is not
        the expected one."""
        encoded = msgspec.json.encode([_encodable(move) for move in moves])
        keys = [self._keys.prefix, *self._own_keys]
        return bool(await answer(self._apply(keys=keys, args=[encoded, TRACE_LENGTH_MAX, *arguments])))

    async def skip(self, partition: str, position: int, origin: int) -> None:
        """Move past the next position without its effect, and remember that it was skipped. Does nothing if
        `position` is not the next one. `origin` stands in for the stored position if there is none."""
        await answer(self._skip(keys=[self._keys.prefix], args=[partition, position, origin]))

    async def close(self) -> None:
        await self._client.aclose()


def _encodable(move: Move) -> dict[str, object]:
    """A move as JSON for Lua, with positions as strings, since Valkey stores strings."""
    return {
        "partition": move.partition,
        "before": "" if move.before is None else str(move.before),
        "after": str(move.after),
        "events": sum(last - first + 1 for first, last in move.ranges),
        "ranges": [f"{first}-{last}" for first, last in move.ranges],
        "replayed": [str(position) for position in move.replayed],
    }

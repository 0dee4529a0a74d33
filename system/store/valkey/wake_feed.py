"""The wake-up feed for a region's devices, in its Valkey: the position of each partition, and a notice on a channel
with each change. It says only that something changed; the sync protocol says what.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from redis.asyncio import Redis

from system.store.valkey.client import answer
from system.store.valkey.consumer_state import keys_of

MOBILE_SYNC = "mobile-sync"
CHANGED = "covenant:mobile-sync:changed"
"""The channel of notices. A process that was not subscribed reads the positions instead."""
NOTIFY = "redis.call('PUBLISH', KEYS[2], ARGV[1])"
"""Commands for `ConsumerState`; KEYS[2] is CHANGED. The notice is the JSON of the moves."""

_POSITIONS = keys_of(MOBILE_SYNC).positions


class _Moved(msgspec.Struct):
    partition: str
    after: str


_MOVES = msgspec.json.Decoder(list[_Moved])


def moved(notice: bytes) -> dict[str, int]:
    """Partition -> new position, out of a notice."""
    return {move.partition: int(move.after) for move in _MOVES.decode(notice)}


async def read_positions(client: Redis) -> Mapping[str, int]:
    """Partition -> position; empty if this Valkey has been emptied. redis.RedisError."""
    stored: dict[bytes, bytes] = await answer(client.hgetall(_POSITIONS))
    return {partition.decode(): int(position) for partition, position in stored.items()}

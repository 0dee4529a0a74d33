"""The wake-up feed of a region's devices in its Valkey: how far the region knows of changes, and a notice with each
change. What it says is only that there is something; what it is, a device is told by the sync protocol.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from redis.asyncio import Redis

from system.store.regional import answer, keys_of

MOBILE_SYNC = "mobile-sync"
CHANGED = "covenant:mobile-sync:changed"
"""Channel: the moves of positions. Whoever was not listening reads the positions."""
NOTIFY = "redis.call('PUBLISH', KEYS[2], ARGV[1])"
"""Commands for `system.store.regional.Regional`, with the key CHANGED."""

_POSITIONS = keys_of(MOBILE_SYNC).positions


class _Moved(msgspec.Struct):
    partition: str
    after: str


_MOVES = msgspec.json.Decoder(list[_Moved])


def moved(notice: bytes) -> dict[str, int]:
    """The positions that a notice tells."""
    return {move.partition: int(move.after) for move in _MOVES.decode(notice)}


async def read_positions(client: Redis) -> Mapping[str, int]:
    """How far the feed is; nothing in a Valkey that has been emptied. redis.RedisError."""
    stored: dict[bytes, bytes] = await answer(client.hgetall(_POSITIONS))
    return {partition.decode(): int(position) for partition, position in stored.items()}

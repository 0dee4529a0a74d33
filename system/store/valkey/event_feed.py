"""The feed of events in a region's Valkey, which the API's processes read for their subscribers.

There is one Valkey stream a partition. An entry's id is `<position>-0`; its field `event` is the event's JSON. The
feed is a cache, never the only copy: an event that it has dropped or never got is in the outbox table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from system.store.valkey.client import answer
from system.wire import Event
from system.wire.observer import FEED, feed_key

LENGTH_MAX = 10_000
"""Entries a partition, approximately: Valkey trims old ones in blocks."""

# Valkey takes entries in order only: the event of a position that was skipped and replayed is in the outbox alone.
APPEND = f"""
local last = {{}}
for i = 3, #ARGV, 3 do
    local feed = KEYS[2] .. ARGV[i]
    if not last[feed] then
        local entry = redis.call('XREVRANGE', feed, '+', '-', 'COUNT', 1)[1]
        last[feed] = entry and tonumber(string.match(entry[1], '^%d+')) or 0
    end
    if tonumber(ARGV[i + 1]) > last[feed] then
        redis.call('XADD', feed, 'MAXLEN', '~', '{LENGTH_MAX}', ARGV[i + 1] .. '-0', 'event', ARGV[i + 2])
    end
end
"""
"""Commands for `ConsumerState`; KEYS[2] is FEED, ARGV[3] and on are `append_arguments`."""

encode: Callable[[object], bytes] = msgspec.json.Encoder(decimal_format="number").encode


def append_arguments(events: Iterable[Event]) -> list[bytes | str]:
    """The arguments of APPEND: partition, position and JSON of each event."""
    arguments: list[bytes | str] = []
    for event in events:
        arguments += (event.partition, str(event.position), encode(event))
    return arguments


async def read_feed(
    client: Redis, positions: Mapping[str, int], limit: int, wait_s: float
) -> dict[str, list[tuple[int, bytes]]]:
    """The entries after these positions: partition -> (position, JSON) in order, at most `limit` a partition. Waits up
    to `wait_s` for the first one. redis.RedisError."""
    streams: dict[Any, Any] = {feed_key(partition): f"{position}-0" for partition, position in positions.items()}
    block = {"block": int(wait_s * 1000)} if wait_s else {}
    found = await answer(client.xread(streams, count=limit, **block))
    return {
        name.decode().removeprefix(FEED): [
            (int(entry.partition(b"-")[0]), fields[b"event"]) for entry, fields in entries
        ]
        for name, entries in found
    }

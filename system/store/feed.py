"""The feed of events in a region's Valkey, from which the API's processes tell their subscribers what happened.

A Valkey stream for each partition; an entry's id is `<position>-0`, its field `event` the event's JSON. It is a
short cut, never the only copy: what it does not hold any more, or never got, stands in the outbox table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from system.store.regional import answer
from system.wire import Event
from system.wire.observer import FEED, feed_key

LENGTH_MAX = 10_000
"""Entries a partition, about: Valkey drops old ones by the hundred."""

# An entry cannot be put in behind a later one: a position that was skipped and made up for is in the outbox alone.
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
"""Commands for `system.store.regional.Regional`, with the key FEED and `append_arguments`."""

encode: Callable[[object], bytes] = msgspec.json.Encoder(decimal_format="number").encode


def append_arguments(events: Iterable[Event]) -> list[bytes | str]:
    """Partition, position and JSON of each event."""
    arguments: list[bytes | str] = []
    for event in events:
        arguments += (event.partition, str(event.position), encode(event))
    return arguments


async def read_feed(
    client: Redis, positions: Mapping[str, int], limit: int, wait_s: float
) -> dict[str, list[tuple[int, bytes]]]:
    """What the feed holds behind these positions, (position, JSON) in order by partition, at most `limit` each;
    waits up to `wait_s` for the first. redis.RedisError."""
    streams: dict[Any, Any] = {feed_key(partition): f"{position}-0" for partition, position in positions.items()}
    block = {"block": int(wait_s * 1000)} if wait_s else {}
    found = await answer(client.xread(streams, count=limit, **block))
    return {
        name.decode().removeprefix(FEED): [
            (int(entry.partition(b"-")[0]), fields[b"event"]) for entry, fields in entries
        ]
        for name, entries in found
    }

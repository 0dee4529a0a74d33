"""Looks at where every consumer stands, many times a second: the positions in PostgreSQL and in each region's Valkey.

Each answer carries the clock of the server that gave it, read with it or right after it: so the way back, which may be
a continent long, is in no figure. All servers of a system on one machine share one clock; where they do not, what is
timed this way is as good as their clocks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra.target import Target
from ledger.steps import Ranges, Steps
from system import wire

ONCE = ("analytics", "audit-logger", "notifications")
PER_REGION = ("cache-invalidator", "mobile-sync", "frontend-realtime")
RELAY = "relay"
PARTITIONS = tuple(f"projects.{number}" for number in range(wire.PARTITIONS))

EVERY_S = 0.05
_AT_ONCE = 4
"""Connections to a region that take turns: from afar an answer takes longer than the distance of two looks."""
_ANSWER_WITHIN_S = 5.0
_TRACE_MAX = 100_000
"""Entries of a trace that a region's Valkey keeps."""
_WHERE = """
select consumer, partition, position, (extract(epoch from clock_timestamp()) * 1e6)::bigint * 1000
from consumer_position where consumer = any(%s) and partition = any(%s)
union all
select 'relay', partition, confirmed_position, (extract(epoch from clock_timestamp()) * 1e6)::bigint * 1000
from relay_partition where partition = any(%s)"""
_TRACE = """
select partition, first, last from consumer_applied
where consumer = %s and partition = any(%s) and last >= %s order by partition, first"""


class Hand(NamedTuple):
    """One consumer in one place. `relay` is one, too: what it has reached is in the stream."""

    consumer: str
    region: str | None = None

    def __str__(self) -> str:
        return f"{self.consumer} in {self.region}" if self.region else self.consumer


def everybody(regions: list[str]) -> list[Hand]:
    """All six consumers in every region, without the relay."""
    return [Hand(name) for name in ONCE] + [Hand(name, region) for region in regions for name in PER_REGION]


class Looks:
    """Use as an asynchronous context manager: it looks until it is closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.steps: dict[Hand, dict[str, Steps]] = {
            hand: {partition: Steps() for partition in PARTITIONS} for hand in [*everybody(target.regions), Hand(RELAY)]
        }
        self._problems: dict[str, int] = {}
        self._looking: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Looks:
        self._looking.append(asyncio.create_task(self._again(EVERY_S, self._database())))
        for region in self._target.regions:
            for turn in range(_AT_ONCE):
                look = self._region(region)
                self._looking.append(asyncio.create_task(self._again(EVERY_S * _AT_ONCE, look, EVERY_S * turn)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._looking:
            task.cancel()
        await asyncio.wait(self._looking, timeout=_ANSWER_WITHIN_S)

    @property
    def told(self) -> list[str]:
        """What went wrong when looking, and how often."""
        return [f"{text} ({count} times)" for text, count in self._problems.items()]

    def lowest(self, hand: Hand, partition: str) -> int:
        return self.steps[hand][partition].last

    async def _again(self, every_s: float, look: _Look, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        try:
            while True:
                began = time.monotonic()
                try:
                    async with asyncio.timeout(_ANSWER_WITHIN_S):
                        await look.once()
                except (psycopg.Error, RedisError, OSError) as error:
                    text = f"{look.where}: {str(error).partition(chr(10))[0] or type(error).__name__}"
                    self._problems[text] = self._problems.get(text, 0) + 1
                    await look.close()
                await asyncio.sleep(max(0.0, began + every_s - time.monotonic()))
        finally:
            await look.close()

    def _database(self) -> _Look:
        def take(rows: list[tuple[str, str, int, int]]) -> None:
            for consumer, partition, position, at_ns in rows:
                self.steps[Hand(consumer)][partition].add(at_ns, position)

        return _Database(self._target.observer_dsn, take)

    def _region(self, region: str) -> _Look:
        def take(at_ns: int, positions: Mapping[str, Mapping[bytes, bytes]]) -> None:
            for consumer, found in positions.items():
                for partition in PARTITIONS:
                    if (position := found.get(partition.encode())) is not None:
                        self.steps[Hand(consumer, region)][partition].add(at_ns, int(position))

        return _Region(self._target.valkey[region], region, take)


class _Look:
    """One way to look, over a connection of its own."""

    where: str

    async def once(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class _Database(_Look):
    where = "PostgreSQL"

    def __init__(self, url: str, take: Callable[[list[tuple[str, str, int, int]]], None]) -> None:
        self._url = url
        self._take = take
        self._link: psycopg.AsyncConnection | None = None

    async def once(self) -> None:
        if self._link is None:
            self._link = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        names = list(PARTITIONS)
        cursor = await self._link.execute(_WHERE, (list(ONCE), names, names))
        self._take(await cursor.fetchall())

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with suppress(psycopg.Error, OSError):
                await link.close()


class _Region(_Look):
    def __init__(self, url: str, region: str, take: Callable[[int, Mapping[str, Mapping[bytes, bytes]]], None]) -> None:
        self.where = f"Valkey in {region}"
        self._client = Redis.from_url(url, socket_timeout=_ANSWER_WITHIN_S)
        self._take = take

    async def once(self) -> None:
        asked = self._client.pipeline(transaction=False)
        for consumer in PER_REGION:
            asked.hgetall(f"covenant:{consumer}:positions")
        asked.time()
        *found, (seconds, micros) = await _answer(asked.execute())
        self._take(seconds * 10**9 + micros * 1000, dict(zip(PER_REGION, found, strict=True)))

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()


async def _answer(command: Awaitable[list]) -> list:  # type: ignore[type-arg]
    return await command


class TraceTooShort(Exception):
    """What a consumer applied is not all to be read any more; says why."""


async def applied_in_database(target: Target, consumer: str, since: int) -> dict[str, Ranges]:
    """What a consumer says that it applied, partition -> ranges, from about this position on. psycopg.Error."""
    found: dict[str, list[tuple[int, int]]] = {partition: [] for partition in PARTITIONS}
    link = await psycopg.AsyncConnection.connect(target.observer_dsn, autocommit=True)
    try:
        cursor = await link.execute(_TRACE, (consumer, list(PARTITIONS), since))
        async for partition, first, last in cursor:
            found[partition].append((first, last))
    finally:
        await link.close()
    return dict(found)


async def applied_in_region(target: Target, region: str, consumer: str) -> dict[str, Ranges]:
    """The same of a consumer of a region. RedisError, TraceTooShort."""
    client = Redis.from_url(target.valkey[region], socket_timeout=_ANSWER_WITHIN_S, decode_responses=True)
    found: dict[str, Ranges] = {}
    try:
        for partition in PARTITIONS:
            entries = await _answer(client.lrange(f"covenant:{consumer}:trace:{partition}", 0, -1))
            if len(entries) >= _TRACE_MAX:
                raise TraceTooShort(f"the trace of {consumer} in {region} is full: it holds {_TRACE_MAX:,} entries")
            pairs = [entry.partition("-") for entry in entries]
            found[partition] = [(int(first), int(last)) for first, _, last in pairs]
    finally:
        await client.aclose()
    return found

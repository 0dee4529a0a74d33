"""Where every consumer stands: its positions in PostgreSQL, or in its region's Valkey.

Each answer carries the clock of the server that gave it, read with it or right after it: so the way back, which may be
a continent long, is in no figure. All servers of a system on one machine share one clock; where they do not, what is
timed this way is as good as their clocks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Protocol

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra.target import Target
from ledger.timing import PositionHistory
from system import wire
from system.wire import observer
from system.wire.observer import ConsumerInstance

RELAY = ConsumerInstance("relay")
"""The relay stands like a consumer: what it has reached is in the stream."""
EVERY_S = 0.05
_AT_ONCE = 4
"""Connections to a region that take turns: from afar an answer takes longer than the distance of two looks."""
_ANSWER_WITHIN_S = 5.0
_STATEMENT_TIMEOUT = "-c statement_timeout=5000"
_NOW_NS = "(extract(epoch from clock_timestamp()) * 1e6)::bigint * 1000"
_POSITIONS = f"""
select consumer, partition, position, {_NOW_NS} from {observer.CONSUMER_POSITIONS}
where consumer = any(%(consumers)s) and partition = any(%(partitions)s)
union all
select '{RELAY.name}', partition, confirmed_position, {_NOW_NS} from {observer.RELAY_POSITIONS}
where partition = any(%(partitions)s)"""


class Positions(NamedTuple):
    """What one look has found: instance -> partition -> the last position whose effect is there."""

    at_ns: int
    """Since 1970, by the clock of the server that answered."""
    of: Mapping[ConsumerInstance, Mapping[str, int]]


class PositionReader(Protocol):
    """Looks at one server, over a connection of its own that it makes when it needs it."""

    where: str

    async def look(self) -> Positions:
        """What is there now. psycopg.Error, redis.RedisError, OSError (a timeout too); then it has to be closed."""

    async def close(self) -> None: ...


class DatabaseReader:
    """The relay, and the consumers that run once in the system; of these partitions."""

    where = "PostgreSQL"

    def __init__(self, target: Target, partitions: Collection[str]) -> None:
        self._dsn = target.observer_dsn
        self._asked = {"consumers": observer.once(), "partitions": list(partitions)}
        self._link: psycopg.AsyncConnection | None = None

    async def look(self) -> Positions:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            if self._link is None:
                self._link = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, options=_STATEMENT_TIMEOUT
                )
            rows = await (await self._link.execute(_POSITIONS, self._asked)).fetchall()
        found: dict[ConsumerInstance, dict[str, int]] = {}
        for consumer, partition, position, _ in rows:
            found.setdefault(ConsumerInstance(consumer), {})[partition] = position
        return Positions(max((at_ns for *_, at_ns in rows), default=0), found)

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with suppress(psycopg.Error, OSError):
                await link.close()


class RegionReader:
    """The consumers of a region."""

    def __init__(self, target: Target, region: str) -> None:
        self.where = f"Valkey in {region}"
        self._region = region
        self._client = Redis.from_url(target.valkey[region], socket_timeout=_ANSWER_WITHIN_S, decode_responses=True)

    async def look(self) -> Positions:
        consumers = observer.per_region()
        asked = self._client.pipeline(transaction=False)
        for consumer in consumers:
            asked.hgetall(observer.positions_key(consumer))
        asked.time()
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            *found, (seconds, micros) = await _answer(asked.execute())
        positions = {
            ConsumerInstance(consumer, self._region): {name: int(position) for name, position in stored.items()}
            for consumer, stored in zip(consumers, found, strict=True)
        }
        return Positions(seconds * 10**9 + micros * 1000, positions)

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()


async def _answer(command: Awaitable[list]) -> list:  # type: ignore[type-arg]
    return await command


@asynccontextmanager
async def reader_of(target: Target, instance: ConsumerInstance) -> AsyncIterator[PositionReader]:
    """What looks at where an instance's effects go; closed at the end."""
    reader: PositionReader = (
        DatabaseReader(target, wire.ALL_PARTITIONS)
        if instance.region is None
        else RegionReader(target, instance.region)
    )
    try:
        yield reader
    finally:
        await reader.close()


async def positions_of(target: Target, instance: ConsumerInstance) -> Mapping[str, int]:
    """Partition -> the last position whose effect is there. psycopg.Error, redis.RedisError, OSError."""
    async with reader_of(target, instance) as reader:
        return (await reader.look()).of.get(instance, {})


class PositionWatch:
    """Looks at everything many times a second while it is used as an asynchronous context manager, and keeps how the
    positions of `partitions` went up: instance, the relay too -> partition -> history."""

    def __init__(self, target: Target, partitions: Collection[str]) -> None:
        self._target = target
        self._partitions = partitions
        self.history: dict[ConsumerInstance, dict[str, PositionHistory]] = {
            instance: {partition: PositionHistory() for partition in partitions}
            for instance in [*observer.instances(target.regions), RELAY]
        }
        self._problems: dict[str, int] = {}
        self._looking: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> PositionWatch:
        self._start(DatabaseReader(self._target, self._partitions), EVERY_S)
        for region in self._target.regions:
            for turn in range(_AT_ONCE):
                self._start(RegionReader(self._target, region), EVERY_S * _AT_ONCE, EVERY_S * turn)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._looking:
            task.cancel()
        await asyncio.wait(self._looking, timeout=_ANSWER_WITHIN_S)

    @property
    def problems(self) -> list[str]:
        """What went wrong when looking, and how often."""
        return [f"{text} ({count} times)" for text, count in self._problems.items()]

    def positions(self, instance: ConsumerInstance) -> dict[str, int]:
        """Partition -> the highest position that was seen."""
        return {partition: history.last for partition, history in self.history[instance].items()}

    def histories(self, instances: Iterable[ConsumerInstance], partition: str) -> list[PositionHistory]:
        return [self.history[instance][partition] for instance in instances]

    def _start(self, reader: PositionReader, every_s: float, after_s: float = 0.0) -> None:
        self._looking.append(asyncio.create_task(self._keep_looking(reader, every_s, after_s)))

    async def _keep_looking(self, reader: PositionReader, every_s: float, after_s: float) -> None:
        await asyncio.sleep(after_s)
        try:
            while True:
                began = time.monotonic()
                try:
                    self._take(await reader.look())
                except (psycopg.Error, RedisError, OSError) as error:
                    text = f"{reader.where}: {str(error).partition(chr(10))[0] or type(error).__name__}"
                    self._problems[text] = self._problems.get(text, 0) + 1
                    await reader.close()
                await asyncio.sleep(max(0.0, began + every_s - time.monotonic()))
        finally:
            await reader.close()

    def _take(self, found: Positions) -> None:
        for instance, positions in found.of.items():
            for partition, position in positions.items():
                if (history := self.history[instance].get(partition)) is not None:
                    history.add(found.at_ns, position)

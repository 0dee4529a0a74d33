"""The two instants at which an event can be doubled, as they look from outside.

A consumer commits an event's effect, then acknowledges the message that it came in; killed in between it is given
the message again. The relay has events stored, then notes that; killed in between it publishes them again. Whether
a process stands in such a gap is read from where its effects go and from JetStream as an observer, without the
process's help. What is read is true only while the process stands still: stopped, or dead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import psycopg
from nats.aio.client import Client

from infra.target import Target
from ledger.observe import bus
from ledger.observe.positions import PositionReader, reader_of
from system import wire
from system.wire import observer
from system.wire.observer import ConsumerInstance

STREAM = wire.PROJECTS_STREAM.name
EVENTS = wire.events_filter("projects")
_READ_WITHIN_S = 5.0
PARTITIONS = wire.partitions_of("projects")


class ConsumerStands(NamedTuple):
    """A consumer between where its effects go and its acknowledgements."""

    committed: Mapping[str, int]
    """Partition -> the last position whose effect is committed."""
    unacknowledged: tuple[str, int] | None
    """(partition, lowest position) of the first message that is not acknowledged; None if all are."""
    state: bus.ConsumerState

    @property
    def in_gap(self) -> tuple[str, int] | None:
        """(partition, position) of an event whose effect is committed and that will be delivered again."""
        if self.unacknowledged is None:
            return None
        partition, position = self.unacknowledged
        return self.unacknowledged if position <= self.committed.get(partition, 0) else None

    @property
    def passed(self) -> int:
        """Grows with every message that is acknowledged."""
        return self.state.ack_floor.stream_seq


class RelayStands(NamedTuple):
    """The relay between the stream and its own note of what the stream has."""

    stored: Mapping[str, int]
    """Partition -> the last position that the stream holds."""
    confirmed: Mapping[str, int]
    """Partition -> the last position that the relay has noted as stored."""

    @property
    def in_gap(self) -> tuple[str, int] | None:
        """(partition, position) of an event that is stored and will be published again."""
        for partition, position in self.stored.items():
            if position > self.confirmed.get(partition, 0):
                return partition, position
        return None

    @property
    def passed(self) -> int:
        """Grows with every event that is noted as stored."""
        return sum(self.confirmed.values())


class ConsumerLook:
    """Looks at how a consumer of the project events stands, over connections that stay open for many looks."""

    def __init__(self, client: Client, reader: PositionReader, instance: ConsumerInstance) -> None:
        self._client = client
        self._reader = reader
        self._instance = instance

    async def __call__(self) -> ConsumerStands:
        """bus.BusError, psycopg.Error, redis.RedisError, OSError."""
        state = await bus.consumer_state(self._client, STREAM, self._instance.durable)
        behind = await bus.frame_behind(self._client, STREAM, state.ack_floor.stream_seq, EVENTS)
        committed = (await self._reader.look()).of.get(self._instance, {})
        unacknowledged = None if behind is None else (behind.partition, behind.first)
        return ConsumerStands(committed=committed, unacknowledged=unacknowledged, state=state)


@asynccontextmanager
async def consumer_look(client: Client, target: Target, durable: str) -> AsyncIterator[ConsumerLook]:
    """ValueError for a name that no consumer has."""
    instance = observer.instance(durable, target.regions)
    async with reader_of(target, instance) as reader:
        yield ConsumerLook(client, reader, instance)


async def relay_stands(client: Client, link: psycopg.AsyncConnection[tuple[str, int]]) -> RelayStands:
    """Read how the relay of the project events stands. bus.BusError, psycopg.Error."""
    rows = await link.execute(f"select partition, confirmed_position from {observer.RELAY_POSITIONS}")
    confirmed = {partition: position for partition, position in await rows.fetchall() if partition in PARTITIONS}
    stored: dict[str, int] = {}
    for partition in PARTITIONS:
        last = await bus.last_frame(client, STREAM, wire.event_subject(partition))
        stored[partition] = 0 if last is None else last.last
    return RelayStands(stored=stored, confirmed=confirmed)


async def redelivered(client: Client, durable: str, since: bus.Cursor) -> int:
    """How many deliveries since `since` were repeats: all deliveries, less the messages that were new. bus.BusError."""
    state = await bus.consumer_state(client, STREAM, durable)
    last = await bus.last_frame(client, STREAM, EVENTS)
    first = since.stream_seq + 1
    behind = await bus.frames(client, STREAM, EVENTS, first, last.seq, within_s=_READ_WITHIN_S) if last else []
    new = sum(frame.seq <= state.delivered.stream_seq for frame in behind)
    return state.delivered.consumer_seq - since.consumer_seq - new


async def connect(target: Target) -> psycopg.AsyncConnection[tuple[str, int]]:
    """The primary, as the observer. psycopg.Error within 5 s if there is none."""
    return await psycopg.AsyncConnection.connect(
        target.observer_dsn, autocommit=True, options="-c statement_timeout=2000", connect_timeout=5
    )

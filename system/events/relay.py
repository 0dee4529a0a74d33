"""`python -m system.events.relay`: take events from the outbox to the streams, in order, until told to end.

Each aggregate has a lane of its own, so that one stream without a leader does not hold up the others. A lane
takes the lease of its partitions, makes sure of its stream, publishes what is unconfirmed, then gives positions to
new rows and publishes those. Any failure sends it back to the beginning: whatever was not confirmed is
published again, in order. Two relays at once cannot do harm, since the later one's epoch stops the earlier; one
in a region that was taken over from stands by (`system.events.promote`).

A stream that lost everything (its store wiped, then made anew) looks like any other. So its creation time is
compared, whenever something may have happened to it and every few seconds; if it is another one, the lane
goes back to what every consumer has applied. One that lost only its tail, as brokers do that all lose power, is the
same one still: after a failure, a new connection or a new leader, and when its last sequence is lower than before,
the last positions that it holds are compared with what was confirmed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import asyncpg
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import NotFoundError

from system import process
from system.domain.frames import EncodedEvent
from system.domain.partitions import partitions_of
from system.events import bus, metrics, streams, watch
from system.events.publish import Outcome, publish
from system.events.streams import Sight
from system.process import Backoff, DependencyState, set_within
from system.settings import Settings
from system.store import outbox
from system.store.item_sql import HINT_CHANNEL
from system.store.outbox import Lease, LeaseLost, StandingBy
from system.store.session import Session, Unavailable
from system.wire import STREAMS, Stream

_LOOK_EVERY_S = 0.1
_BATCH_MAX = 4_000
_BATCH_MIN = 100
_PUBLISH_WITHIN_S = 5.0
_INFO_WITHIN_S = 1.0
_STAND_BACK_S = 5.0
_STREAM_LOOK_EVERY_S = 3.0
_PRUNE_EVERY_S = 600.0
_PRUNE_BATCH = 1_000


class NotStored(Exception):
    """The stream did not take all events."""


class Lane:
    """The relay of one aggregate's partitions."""

    def __init__(
        self, stream: Stream, settings: Settings, client: Client, dependencies: DependencyState, log: logging.Logger
    ) -> None:
        self._stream = stream
        self._settings = settings
        self._client = client
        self._js = client.jetstream(timeout=_INFO_WITHIN_S)
        self._dependencies = dependencies
        self._log = log
        self._hint = asyncio.Event()
        self._session = Session(settings, "relay", self._listen)
        self._batch = _BATCH_MAX
        self._seen: tuple[Sight, int] | None = None
        """The stream at the last look, and which connection it was; None if something may have happened since."""
        self._again = ""
        self.holding = asyncio.Event()
        """Set once the lease has been taken."""

    async def run(self) -> None:
        """Relay until cancelled."""
        backoff = Backoff()
        aggregate = self._stream.aggregate
        try:
            while True:
                try:
                    await self._hold(backoff)
                except (LeaseLost, StandingBy) as error:
                    self._dependencies.away(f"lease of {aggregate}", error)
                    await asyncio.sleep(_STAND_BACK_S)
                except Unavailable as error:
                    # What takes too long in one piece may pass in smaller ones.
                    self._batch = max(_BATCH_MIN, self._batch // 4)
                    self._dependencies.away("primary database", error)
                    await backoff.wait()
                except NotStored as error:
                    self._dependencies.away(f"stream of {aggregate}", error)
                    await backoff.wait()
        finally:
            self._session.close()

    async def _hold(self, backoff: Backoff) -> None:
        partitions = partitions_of(self._stream.aggregate)
        lease = await self._session.run(lambda c: outbox.take_lease(c, partitions, self._settings.region))
        self.holding.set()
        self._dependencies.back(f"lease of {self._stream.aggregate}")
        self._seen = None
        while True:
            await self._know_stream(lease)
            while events := await self._session.run(lambda c: outbox.unconfirmed(c, lease, self._batch)):
                await self._settle(lease, await self._publish(events))
            await self._relay(lease, backoff)

    async def _know_stream(self, lease: Lease) -> None:
        """Make the stream if it is missing; go back in the outbox if it is another one than before, or does not hold
        any more what was confirmed."""
        if not self._client.is_connected:
            raise NotStored("not connected to any NATS server")
        connection = self._client.stats["reconnects"]
        try:
            sight = await self._look()
            whole = self._seen is not None and _goes_on(self._seen, (sight, connection))
            held = {} if whole else await streams.last_positions(self._js, self._stream)
        except (Error, OSError) as error:
            raise NotStored(str(error) or type(error).__name__) from None
        aggregate = self._stream.aggregate
        gone_back = await self._session.run(lambda c: outbox.record_stream(c, lease, aggregate, sight.created_at))
        self._tell(gone_back, "is not the stream that it was")
        if held:
            gone_back = await self._session.run(lambda c: outbox.go_back_to_held(c, lease, held))
            self._tell(gone_back, "does not hold what it had confirmed")
            if gone_back:
                # It may remember the ids of what it has lost.
                self._again = f":{uuid4()}"
        self._seen = sight, connection

    async def _look(self) -> Sight:
        try:
            return await streams.look(self._js, self._stream)
        except NotFoundError:
            self._log.error("%s is missing and is made anew", self._stream.name)
            replicas, window_s = self._settings.stream_replicas, self._settings.duplicate_window_s
            await streams.ensure_stream(self._js, self._stream, replicas, window_s)
            return await streams.look(self._js, self._stream)

    def _tell(self, gone_back: Mapping[str, int], what: str) -> None:
        if gone_back:
            after = ", ".join(f"{name} {position}" for name, position in sorted(gone_back.items()))
            self._log.error("%s %s: events are published again after %s", self._stream.name, what, after)

    async def _relay(self, lease: Lease, backoff: Backoff) -> None:
        """Publish new rows until it is time to look after the stream. While one batch is on its way to the
        stream the next one gets its positions."""
        look_at = time.monotonic() + _STREAM_LOOK_EVERY_S
        connection = self._client.stats["reconnects"]
        on_its_way: asyncio.Task[Outcome] | None = None
        try:
            while time.monotonic() < look_at and self._client.stats["reconnects"] == connection:
                self._hint.clear()
                events = await self._session.run(lambda c: outbox.assign(c, lease, self._stream.aggregate, self._batch))
                self._dependencies.back("primary database")
                self._batch = min(_BATCH_MAX, 2 * self._batch)
                if on_its_way:
                    await self._settle(lease, await on_its_way)
                on_its_way = asyncio.create_task(self._publish(events)) if events else None
                backoff.reset()
                if not on_its_way:
                    await set_within(self._hint, _LOOK_EVERY_S)
            if on_its_way:
                await self._settle(lease, await on_its_way)
        finally:
            if on_its_way:
                on_its_way.cancel()

    async def _publish(self, events: Sequence[EncodedEvent]) -> Outcome:
        if not self._client.is_connected:
            return Outcome({}, "not connected to any NATS server")
        stream = self._stream.name
        metrics.PUBLISHED.labels(stream).inc(len(events))
        metrics.UNCONFIRMED.labels(stream).set(len(events))
        outcome = await publish(self._js, events, _PUBLISH_WITHIN_S, self._again)
        confirmed = sum(event.position <= outcome.stored.get(event.partition, 0) for event in events)
        metrics.CONFIRMED.labels(stream).inc(confirmed)
        metrics.UNCONFIRMED.labels(stream).set(len(events) - confirmed)
        return outcome

    async def _settle(self, lease: Lease, outcome: Outcome) -> None:
        if outcome.stored:
            await self._session.run(lambda connection: outbox.confirm(connection, lease, outcome.stored))
        if outcome.failure is not None:
            raise NotStored(outcome.failure)
        self._dependencies.back(f"stream of {self._stream.aggregate}")

    async def _listen(self, connection: asyncpg.Connection) -> None:
        await connection.add_listener(HINT_CHANNEL, self._on_hint)

    def _on_hint(self, *_: Any) -> None:
        self._hint.set()


def _goes_on(before: tuple[Sight, int], now: tuple[Sight, int]) -> bool:
    """Whether nothing is seen to have happened to a stream between two looks over these connections."""
    (old, old_connection), (new, new_connection) = before, now
    return (
        (new.created_at, new.leader, new_connection) == (old.created_at, old.leader, old_connection)
        and new.last_sequence >= old.last_sequence
    )  # fmt: skip


async def _prune(settings: Settings, dependencies: DependencyState) -> None:
    """Delete what nobody needs any more from the outbox, in small pieces, until cancelled."""
    session = Session(settings, "relay-prune")
    try:
        while True:
            try:
                while await session.run(lambda connection: outbox.prune(connection, _PRUNE_BATCH)):
                    dependencies.back("outbox to prune")
            except Unavailable as error:
                dependencies.away("outbox to prune", error)
            await asyncio.sleep(_PRUNE_EVERY_S)
    finally:
        session.close()


async def main(settings: Settings, log: logging.Logger) -> None:
    """Ready once every lane holds its lease and the bus is connected."""
    metrics.serve(settings)
    dependencies = DependencyState(log)
    client = await bus.connect(settings, "relay", dependencies, log)
    lanes = [Lane(stream, settings, client, dependencies, log) for stream in STREAMS]
    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(lane.run())
            group.create_task(_prune(settings, dependencies))
            group.create_task(watch.watch(settings, log, client))
            for lane in lanes:
                await lane.holding.wait()
            process.make_ready(settings.ready_file)
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(process.run("relay", main))

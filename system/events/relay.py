"""`python -m system.events.relay`: publish the outbox to the streams, in order, until SIGTERM.

Each aggregate has a lane of its own, so that a stream without a leader does not delay the others. A lane takes the
lease of its partitions, checks its stream, publishes unconfirmed events, then assigns positions to new rows and
publishes those. After any failure it starts over: unconfirmed events are published again, in order. Two relays at once
do no harm, since the later one's epoch fences off the earlier. A relay in a region that is not the active one stands by
(see `system.events.promote`).

What is stored is confirmed together with the next assignment, or alone if none follows soon: a transaction less for
each batch. A lane sleeps until a hint says that its queue has rows; one connection listens for the hints of all lanes,
and looks for rows whose hint was lost.

A stream may lose confirmed events. If it lost all of them (its store was wiped and it was recreated), its creation time
differs; the lane checks that every few seconds and after every failure, and goes back to what every consumer has
applied. If it lost only its tail, as after a power loss of all brokers, the creation time is the same. So after a
failure, with a new connection or leader, or when the last sequence is lower than before, the lane compares the last
positions in the stream with the confirmed ones.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from uuid import uuid4

import asyncpg
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import NotFoundError

from system import process
from system.domain.frames import EncodedEvent
from system.events import bus, incident_monitor, metrics, streams
from system.events.publish import Outcome, publish
from system.events.streams import StreamState
from system.process import Backoff, DependencyState, set_within
from system.settings import Settings
from system.store import outbox
from system.store.item_sql import HINT_CHANNEL
from system.store.outbox import Lease, LeaseLost, StandingBy
from system.store.session import Session, Unavailable
from system.wire import STREAMS, Aggregate, Stream, partitions_of

_LOOK_EVERY_S = 0.25
"""How often the queues are looked at for rows without a hint."""
_CONFIRM_WITHIN_S = 0.5
_BATCH_MAX = 4_000
_BATCH_MIN = 100
_PUBLISH_WITHIN_S = 5.0
_INFO_WITHIN_S = 1.0
_STANDBY_RETRY_S = 5.0
_CHECK_STREAM_EVERY_S = 3.0
_PRUNE_EVERY_S = 600.0
_PRUNE_BATCH = 1_000


class NotStored(Exception):
    """The stream did not store all events."""


class Lane:
    """Relays the events of one aggregate."""

    def __init__(
        self, stream: Stream, settings: Settings, client: Client, dependencies: DependencyState, log: logging.Logger
    ) -> None:
        self.aggregate = stream.aggregate
        self._stream = stream
        self._settings = settings
        self._client = client
        self._js = client.jetstream(timeout=_INFO_WITHIN_S)
        self._dependencies = dependencies
        self._log = log
        self._queued = True
        """Whether the queue may have rows."""
        self._wake = asyncio.Event()
        self._stored: dict[str, int] = {}
        """What the stream holds and is not confirmed yet: partition -> position."""
        self._confirm_at = 0.0
        self._session = Session(settings, "relay")
        self._batch = _BATCH_MAX
        self._last_state: tuple[StreamState, int] | None = None
        """The stream's state at the last check, and the number of the connection; None after a failure."""
        self._again = ""
        self.holding = asyncio.Event()
        """Set once the lease has been taken."""

    def hint(self) -> None:
        """Say that the queue may have new rows."""
        self._queued = True
        self._wake.set()

    async def run(self) -> None:
        """Relay until cancelled."""
        backoff = Backoff()
        aggregate = self._stream.aggregate
        try:
            while True:
                try:
                    await self._relay_with_lease(backoff)
                except (LeaseLost, StandingBy) as error:
                    self._dependencies.away(f"lease of {aggregate}", error)
                    await asyncio.sleep(_STANDBY_RETRY_S)
                except Unavailable as error:
                    # A smaller batch may succeed if this one took too long.
                    self._batch = max(_BATCH_MIN, self._batch // 4)
                    self._dependencies.away("primary database", error)
                    await backoff.wait()
                except NotStored as error:
                    self._dependencies.away(f"stream of {aggregate}", error)
                    await backoff.wait()
        finally:
            self._session.close()

    async def _relay_with_lease(self, backoff: Backoff) -> None:
        partitions = partitions_of(self._stream.aggregate)
        lease = await self._session.run(lambda c: outbox.take_lease(c, partitions, self._settings.region))
        self.holding.set()
        self._dependencies.back(f"lease of {self._stream.aggregate}")
        self._last_state = None
        self._stored = {}
        while True:
            await self._check_stream(lease)
            while events := await self._session.run(lambda c: outbox.unconfirmed(c, lease, self._batch)):
                await self._settle(lease, await self._publish(events))
                await self._confirm(lease)
            await self._relay(lease, backoff)

    async def _check_stream(self, lease: Lease) -> None:
        """Create the stream if it is missing. Go back in the outbox if the stream is another one, or has lost confirmed
        events."""
        if not self._client.is_connected:
            raise NotStored("not connected to any NATS server")
        connection = self._client.stats["reconnects"]
        try:
            state = await self._state_or_create()
            unchanged = self._last_state is not None and _unchanged(self._last_state, (state, connection))
            held = {} if unchanged else await streams.last_positions(self._js, self._stream)
        except (Error, OSError) as error:
            raise NotStored(str(error) or type(error).__name__) from None
        aggregate = self._stream.aggregate
        gone_back = await self._session.run(lambda c: outbox.record_stream(c, lease, aggregate, state.created_at))
        self._log_gone_back(gone_back, "is not the stream that it was")
        if held:
            gone_back = await self._session.run(lambda c: outbox.go_back_to_held(c, lease, held))
            self._log_gone_back(gone_back, "does not hold what it had confirmed")
            if gone_back:
                # The stream may still know the message ids of what it has lost.
                self._again = f":{uuid4()}"
        self._last_state = state, connection

    async def _state_or_create(self) -> StreamState:
        try:
            return await streams.stream_state(self._js, self._stream)
        except NotFoundError:
            self._log.error("%s is missing and is created again", self._stream.name)
            replicas, window_s = self._settings.stream_replicas, self._settings.duplicate_window_s
            await streams.ensure_stream(self._js, self._stream, replicas, window_s)
            return await streams.stream_state(self._js, self._stream)

    def _log_gone_back(self, gone_back: Mapping[str, int], what: str) -> None:
        if gone_back:
            after = ", ".join(f"{name} {position}" for name, position in sorted(gone_back.items()))
            self._log.error("%s %s: events are published again after %s", self._stream.name, what, after)

    async def _relay(self, lease: Lease, backoff: Backoff) -> None:
        """Publish new rows until it is time to check the stream; by then all that is stored is confirmed. While one
        batch is being published, the next one gets its positions."""
        check_at = time.monotonic() + _CHECK_STREAM_EVERY_S
        connection = self._client.stats["reconnects"]
        publishing: asyncio.Task[Outcome] | None = None
        self._queued = True
        try:
            while time.monotonic() < check_at and self._client.stats["reconnects"] == connection:
                self._wake.clear()
                events = await self._assign(lease, backoff) if self._queued else []
                if publishing and (events or publishing.done()):
                    await self._settle(lease, await publishing)
                    publishing = None
                if events:
                    publishing = asyncio.create_task(self._publish(events))
                    publishing.add_done_callback(lambda _: self._wake.set())
                if self._stored and time.monotonic() >= self._confirm_at:
                    await self._confirm(lease)
                if not self._queued:
                    until = min(check_at, self._confirm_at) if self._stored else check_at
                    await set_within(self._wake, until - time.monotonic())
            if publishing:
                await self._settle(lease, await publishing)
            await self._confirm(lease)
        finally:
            if publishing:
                publishing.cancel()

    async def _assign(self, lease: Lease, backoff: Backoff) -> Sequence[EncodedEvent]:
        self._queued = False
        aggregate, limit = self._stream.aggregate, self._batch
        events = await self._session.run(lambda c: outbox.assign(c, lease, aggregate, limit, self._stored))
        if events:
            self._stored = {}
        if len(events) == limit:
            self._queued = True
        self._batch = min(_BATCH_MAX, 2 * self._batch)
        self._dependencies.back("primary database")
        backoff.reset()
        return events

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
        """Note what is stored. NotStored if that is not all; then what is stored is confirmed."""
        if outcome.stored and not self._stored:
            self._confirm_at = time.monotonic() + _CONFIRM_WITHIN_S
        self._stored |= outcome.stored
        if outcome.failure is not None:
            await self._confirm(lease)
            raise NotStored(outcome.failure)
        self._dependencies.back(f"stream of {self._stream.aggregate}")

    async def _confirm(self, lease: Lease) -> None:
        if self._stored:
            stored, self._stored = self._stored, {}
            await self._session.run(lambda connection: outbox.confirm(connection, lease, stored))


def _unchanged(before: tuple[StreamState, int], now: tuple[StreamState, int]) -> bool:
    """Whether a stream has the same creation time, leader and connection as before, and has not lost its tail."""
    (old, old_connection), (new, new_connection) = before, now
    return (
        (new.created_at, new.leader, new_connection) == (old.created_at, old.leader, old_connection)
        and new.last_sequence >= old.last_sequence
    )  # fmt: skip


async def _watch(settings: Settings, lanes: Mapping[Aggregate, Lane], dependencies: DependencyState) -> None:
    """Pass hints on to the lanes, and look for rows whose hint was lost, until cancelled."""

    def on_hint(connection: object, pid: int, channel: str, aggregate: Aggregate) -> None:
        if lane := lanes.get(aggregate):
            lane.hint()

    async def listen(connection: asyncpg.Connection) -> None:
        await connection.add_listener(HINT_CHANNEL, on_hint)

    session = Session(settings, "relay-hints", listen)
    try:
        while True:
            try:
                for aggregate in await session.run(lambda connection: outbox.queued(connection, lanes)):
                    lanes[aggregate].hint()
                dependencies.back("hints")
            except Unavailable as error:
                dependencies.away("hints", error)
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        session.close()


async def _prune(settings: Settings, dependencies: DependencyState) -> None:
    """Prune the outbox in small batches, until cancelled."""
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
    """Relay until cancelled. Ready once the bus is connected and every lane holds its lease."""
    metrics.serve(settings)
    dependencies = DependencyState(log)
    client = await bus.connect(settings, "relay", dependencies, log)
    lanes = [Lane(stream, settings, client, dependencies, log) for stream in STREAMS]
    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(lane.run())
            group.create_task(_watch(settings, {lane.aggregate: lane for lane in lanes}, dependencies))
            group.create_task(_prune(settings, dependencies))
            group.create_task(incident_monitor.run(settings, log, client))
            for lane in lanes:
                await lane.holding.wait()
            process.make_ready(settings.ready_file)
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(process.run("relay", main))

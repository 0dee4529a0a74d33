"""The loop of every consumer: fetch messages, apply their events, acknowledge, fill gaps, make dead letters.

An effect is committed before its message is acknowledged. If anything fails in between, the message is delivered again,
and the guard recognises its events as duplicates. So an acknowledgement only spares the bus a repeat: several go
together, and none waits for the server's confirmation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from system import process
from system.domain.frames import Opener
from system.events import bus, metrics
from system.events.consuming.dead_letters import DeadLetterOffice
from system.events.consuming.effect import Batch, Delivery, Effect
from system.events.consuming.persist import Persister, Settled, Unreadable
from system.events.consuming.pull import MANY, Puller, Refused
from system.events.consuming.recover import read_missing, read_outbox
from system.events.consuming.report import Reporter
from system.events.cursors import ensure_cursor
from system.process import Backoff, DependencyState
from system.settings import Settings
from system.store.session import Session, Unavailable
from system.wire import POSITIONS_HEADER, STREAMS, Stream, gap_reader, observer

_BATCH_MAX = 500
_DURABLE_WITHIN_S = 2.0
_ACK_TOGETHER_S = 0.2
"""Acknowledgements wait so long for others, a fraction of ACK_WAIT_S: sent singly, each wakes both ends."""
_HELD_AGAIN_AFTER_S = 0.3
_GAP_PATIENCE_S = 4.0
"""Longer than ACK_WAIT_S: by then the messages of a consumer that died have been delivered again."""


class Consumer:
    """A consumer instance on one stream. `name` is the name of its durable, which is a mere cursor
    (`system.events.cursors`), and in its dead letters. The name of a regional consumer ends with its region."""

    def __init__(
        self, name: str, stream: Stream, effect: Effect, settings: Settings, client: Client,
        dependencies: DependencyState, log: logging.Logger,
    ) -> None:  # fmt: skip
        self._name = name
        self._stream = stream
        self._effect = effect
        self._client = client
        self._dependencies = dependencies
        self._log = log
        self._opener = Opener(stream.aggregate)
        self._office = DeadLetterOffice(name, stream, settings, client, dependencies, log)
        self._persister = Persister(name, stream.name, effect, self._office, dependencies, log)
        self._outbox = Session(settings, f"{name}-gaps")
        self._redeliveries = metrics.REDELIVERIES.labels(name, stream.name)
        self._gaps: dict[str, tuple[int, float]] = {}
        self._done: list[Msg] = []
        """Messages to be acknowledged."""
        self._acks: asyncio.Task[None] | None = None
        self.consuming = asyncio.Event()
        """Set once the durable exists and messages are requested."""

    async def run(self) -> None:
        """Consume until cancelled; then send the acknowledgements that wait for others."""
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._ensure_durable()
                    await self._consume(backoff)
                except (Refused, Unavailable, Error, OSError) as error:
                    self._dependencies.away(self._stream.name, error)
                    await backoff.wait()
        finally:
            if self._acks is not None:
                self._acks.cancel()
            await self._acknowledge()
            self._outbox.close()
            await self._effect.close()

    async def _ensure_durable(self) -> None:
        js = self._client.jetstream(timeout=_DURABLE_WITHIN_S)
        await ensure_cursor(js, self._stream, self._name, self._effect.positions, self._log)

    async def _consume(self, backoff: Backoff) -> None:
        """Consume until the durable is lost (Refused). After a restart of its node a durable in memory starts again
        from its first sequence, which counts as lost, too."""
        delivered = 0
        self._done = []  # A durable that was made anew takes no acknowledgements of the one before.
        messages: Sequence[Msg] = ()
        gathered_at = 0.0
        together = self._effect.gather_s > 0
        async with Puller(self._client, self._stream.name, self._name, _BATCH_MAX, together=together) as puller:
            self._dependencies.back(self._stream.name)
            self.consuming.set()
            while True:
                if len(messages) < MANY:
                    await asyncio.sleep(max(0.0, gathered_at - time.monotonic()))
                messages = await puller.take()
                gathered_at = time.monotonic() + self._effect.gather_s
                self._dependencies.back(self._stream.name)
                backoff.reset()
                self._redeliveries.inc(sum(one.metadata.num_delivered > 1 for one in messages))
                batch, unreadable = await self._opened(messages)
                await self._settle(messages, await self._persister.apply(batch, unreadable))
                if messages[0].metadata.sequence.consumer <= delivered:
                    raise Refused(f"the durable {self._name} has begun again")
                delivered = messages[-1].metadata.sequence.consumer

    async def _opened(self, messages: Iterable[Msg]) -> tuple[Batch, dict[str, list[Unreadable]]]:
        """Decode messages: the events and the faults of each partition. A message that the relay did not publish
        becomes a dead letter at once."""
        batch: dict[str, list[Delivery]] = {}
        unreadable: dict[str, list[Unreadable]] = {}
        for message in messages:
            header = (message.headers or {}).get(POSITIONS_HEADER)
            events, faults = self._opener.open(message.subject, header, message.data)
            if events:
                batch.setdefault(events[0].partition, []).extend([Delivery(event, message) for event in events])
            for fault in faults:
                if fault.partition:
                    unreadable.setdefault(fault.partition, []).append(Unreadable(fault, message))
                else:
                    await self._office.put_aside(fault, message.metadata.sequence.stream)
        return batch, unreadable

    async def _settle(self, messages: Sequence[Msg], settled: Mapping[str, Settled]) -> None:
        """After the commit: have messages with held events redelivered, acknowledge the others, fill old gaps."""
        given_back = {id(one.message): one.message for of in settled.values() for one in of.held if one.message}
        for message in given_back.values():
            await message.nak(delay=_HELD_AGAIN_AFTER_S)
        self._done += [message for message in messages if id(message) not in given_back]
        if len(self._done) >= MANY:
            await self._acknowledge()
        elif self._done and (self._acks is None or self._acks.done()):
            self._acks = asyncio.create_task(self._acknowledge_soon())
        for partition, of_partition in settled.items():
            await self._watch_gap(partition, of_partition)

    async def _acknowledge_soon(self) -> None:
        await asyncio.sleep(_ACK_TOGETHER_S)
        await self._acknowledge()

    async def _acknowledge(self) -> None:
        """Acknowledge in order. If an acknowledgement is lost, its message is delivered again, as a duplicate."""
        done, self._done = self._done, []
        with contextlib.suppress(Error, OSError):
            for message in done:
                await message.ack()

    async def _watch_gap(self, partition: str, settled: Settled) -> None:
        """Note since when a partition waits for a gap; fill the gap after _GAP_PATIENCE_S."""
        waiting = min((one for one in settled.held if one.message), default=None, key=lambda one: one.position)
        if waiting is None or waiting.message is None:
            self._gaps.pop(partition, None)
            return
        first = settled.next_position
        if partition not in self._gaps or self._gaps[partition][0] != first:
            self._gaps[partition] = (first, time.monotonic())
        if time.monotonic() - self._gaps[partition][1] < _GAP_PATIENCE_S:
            return
        del self._gaps[partition]
        await self._fill_gap(partition, first, waiting.position, waiting.message.metadata.sequence.stream)

    async def _fill_gap(self, partition: str, first: int, held: int, sequence: int) -> None:
        """Read the positions from `first` to before `held` from stream or outbox, and apply them."""
        while first < held:
            source = "the stream"
            missing = await read_missing(
                self._client, self._stream, partition, first, (held, sequence), self._opener, gap_reader(self._name)
            )
            if not missing or missing[0].position > first:
                source = "the outbox"
                try:
                    missing = await read_outbox(self._outbox, partition, first, held, self._opener)
                except Unavailable as error:
                    self._dependencies.away("outbox", error)
                    return
            self._log.error(
                "%s: position %d of %s was not delivered again, %d waits for it; %d events were read from %s",
                self._stream.name, first, partition, held, len(missing), source,
            )  # fmt: skip
            if not missing:
                return
            settled = await self._persister.apply({partition: missing}, {})
            if settled[partition].next_position <= first:
                return
            first = settled[partition].next_position


def main_of(
    name: str, make: Callable[[Settings, Stream], Effect]
) -> Callable[[Settings, logging.Logger], Coroutine[Any, Any, None]]:
    """The main function of a consumer's process, for `system.process.run`. It runs one Consumer a stream, each with an
    effect of its own, and is ready once all of them request messages. ValueError for an undeclared consumer."""
    per_region = observer.consumer(name).per_region

    async def main(settings: Settings, log: logging.Logger) -> None:
        metrics.serve(settings)
        dependencies = DependencyState(log)
        own_name = f"{name}-{settings.region}" if per_region else name
        client = await bus.connect(settings, name, dependencies, log)
        effects = [make(settings, stream) for stream in STREAMS]
        consumers = [
            Consumer(own_name, stream, effect, settings, client, dependencies, log)
            for stream, effect in zip(STREAMS, effects, strict=True)
        ]
        reporter = Reporter(own_name, effects[0].positions if per_region else None, settings, dependencies)
        try:
            async with asyncio.TaskGroup() as group:
                for consumer in consumers:
                    group.create_task(consumer.run())
                group.create_task(reporter.run())
                for consumer in consumers:
                    await consumer.consuming.wait()
                process.make_ready(settings.ready_file)
        finally:
            await client.close()

    return main

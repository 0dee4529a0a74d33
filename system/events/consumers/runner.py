"""What every consumer does the same way: fetch, apply, acknowledge, fill gaps; around any failure.

The order is what counts: the effect is committed before its message is acknowledged. Whatever happens in
between only brings the message again, and the guard knows it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from system import process
from system.events import bus
from system.events.consumers.effect import Batch, Delivery, Effect
from system.events.consumers.guard import Admission
from system.events.consumers.pull import Puller, Refused
from system.events.consumers.recover import read_missing
from system.events.streams import ensure_durable
from system.process import Backoff, Surroundings
from system.settings import Settings
from system.store.session import Unavailable
from system.wire import PROJECTS_STREAM, STREAMS, CountryEvent, ProjectEvent, Stream

__all__ = ["Batch", "Consumer", "Delivery", "Effect", "main_of"]

_BATCH_MAX = 500
_ACK_WITHIN_S = 2.0
_HELD_AGAIN_AFTER_S = 0.3
_GAP_PATIENCE_S = 4.0
"""Longer than the acknowledgement wait: by then a message of a consumer that died has come again."""


class Consumer:
    """One consumer on one stream."""

    def __init__(
        self, durable: str, stream: Stream, effect: Effect, client: Client, around: Surroundings,
        log: logging.Logger,
    ) -> None:  # fmt: skip
        self._durable = durable
        self._stream = stream
        self._effect = effect
        self._client = client
        self._around = around
        self._log = log
        kind = ProjectEvent if stream is PROJECTS_STREAM else CountryEvent
        self._decode = msgspec.json.Decoder(kind).decode
        self._gaps: dict[str, tuple[int, float]] = {}
        self._acks: asyncio.Task[None] | None = None
        self._poisoned: set[int] = set()
        self.consuming = asyncio.Event()
        """Set once the durable is there and messages are asked for."""

    async def run(self) -> None:
        """Consume until cancelled; acknowledgements under way are waited for."""
        backoff = Backoff()
        try:
            while True:
                try:
                    await ensure_durable(self._client.jetstream(timeout=2), self._stream, self._durable)
                    await self._consume(backoff)
                except (Refused, Error, OSError) as error:
                    self._around.away(self._stream.name, error)
                    await backoff.wait()
        finally:
            if self._acks is not None:
                await self._acks
            await self._effect.close()

    async def _consume(self, backoff: Backoff) -> None:
        async with Puller(self._client, self._stream.name, self._durable, _BATCH_MAX) as puller:
            self._around.back(self._stream.name)
            self.consuming.set()
            while True:
                deliveries = self._decoded(await puller.take())
                self._around.back(self._stream.name)
                backoff.reset()
                await self._settle(await self._apply(_by_partition(deliveries)))

    def _decoded(self, messages: Iterable[Msg]) -> list[Delivery]:
        """A message that is no event is never acknowledged: its partition stops there, and says so."""
        deliveries = []
        for message in messages:
            try:
                deliveries.append(Delivery(self._decode(message.data), message))
            except msgspec.MsgspecError as error:
                sequence = message.metadata.sequence.stream
                if sequence not in self._poisoned:
                    self._poisoned.add(sequence)
                    self._log.error("%s, message %d is no event: %s", self._stream.name, sequence, error)
        return deliveries

    async def _apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        """Try until the effect is committed: a batch in hand is not given back for an outage."""
        backoff = Backoff()
        while True:
            try:
                admissions = await self._effect.apply(batch)
            except Unavailable as error:
                self._around.away("where effects go", error)
                await backoff.wait()
                continue
            self._around.back("where effects go")
            return admissions

    async def _settle(self, admissions: Mapping[str, Admission[Delivery]]) -> None:
        """After the commit: acknowledge what is done, give back what waits for a gap, fill old gaps."""
        done: list[Msg] = []
        for partition, admission in admissions.items():
            done += [one.message for one in admission.applicable + admission.duplicates if one.message]
            for one in admission.held:
                if one.message is not None:
                    await one.message.nak(delay=_HELD_AGAIN_AFTER_S)
            await self._watch_gap(partition, admission)
        if self._acks is not None:
            await self._acks
        self._acks = asyncio.create_task(_acknowledge(done)) if done else None

    async def _watch_gap(self, partition: str, admission: Admission[Delivery]) -> None:
        """Remember since when a partition waits; after a while read what it waits for from the stream."""
        message = admission.held[0].message if admission.held else None
        if message is None:
            self._gaps.pop(partition, None)
            return
        first = admission.next_position
        if partition not in self._gaps or self._gaps[partition][0] != first:
            self._gaps[partition] = (first, time.monotonic())
        if time.monotonic() - self._gaps[partition][1] < _GAP_PATIENCE_S:
            return
        del self._gaps[partition]
        held = (admission.held[0].position, message.metadata.sequence.stream)
        missing = await read_missing(self._client, self._stream, partition, first, held, self._decode)
        self._log.error(
            "%s: position %d was not delivered again, %d waits for it; %d events were read from the stream",
            partition, first, held[0], len(missing),
        )  # fmt: skip
        if missing:
            await self._apply({partition: [Delivery(event, None) for event in missing]})


async def _acknowledge(messages: Sequence[Msg]) -> None:
    """Confirmed by the server, all at once. One that fails is delivered again, and is a duplicate then."""
    acks = (message.ack_sync(timeout=_ACK_WITHIN_S) for message in messages)
    await asyncio.gather(*acks, return_exceptions=True)


def _by_partition(deliveries: Iterable[Delivery]) -> dict[str, list[Delivery]]:
    batch: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        batch.setdefault(delivery.event.partition, []).append(delivery)
    return batch


def main_of(
    name: str, make: Callable[[Settings, Stream], Effect], *, per_region: bool
) -> Callable[[Settings, logging.Logger], Coroutine[Any, Any, None]]:
    """The main function of a consumer's process, for `system.process.run`: one Consumer a stream, each with
    an effect of its own. Ready once all of them ask for messages."""

    async def main(settings: Settings, log: logging.Logger) -> None:
        around = Surroundings(log)
        durable = f"{name}-{settings.region}" if per_region else name
        client = await bus.connect(settings, name, around, log)
        consumers = [Consumer(durable, stream, make(settings, stream), client, around, log) for stream in STREAMS]
        try:
            async with asyncio.TaskGroup() as group:
                for consumer in consumers:
                    group.create_task(consumer.run())
                for consumer in consumers:
                    await consumer.consuming.wait()
                process.make_ready(settings.ready_file)
        finally:
            await client.close()

    return main

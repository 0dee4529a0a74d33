"""`python -m system.events.relay`: take events from the outbox to the streams, in order, until told to end.

Each aggregate has a lane of its own, so that one stream without a leader does not hold up the other. A lane
takes the lease of its partitions, publishes what an earlier holder left unconfirmed, then gives positions to
new rows and publishes those. Any failure sends it back to the beginning: whatever was not confirmed is
published again, in order. Two relays at once cannot do harm, since the later one's epoch stops the earlier.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import asyncpg
from nats.aio.client import Client

from system import process
from system.domain.partitions import AGGREGATES, Aggregate, partitions_of
from system.events import bus
from system.events.publish import publish
from system.process import Backoff, Surroundings
from system.settings import Settings
from system.store import outbox
from system.store.outbox import Lease, LeaseLost
from system.store.rows import HINT_CHANNEL
from system.store.session import Session, Unavailable
from system.wire import Event

_LOOK_EVERY_S = 0.1
_BATCH_MAX = 1_000
_PUBLISH_WITHIN_S = 5.0
_STAND_BACK_S = 5.0


class NotStored(Exception):
    """The stream did not take all events."""


class Lane:
    """The relay of one aggregate's partitions."""

    def __init__(self, aggregate: Aggregate, settings: Settings, client: Client, surroundings: Surroundings):
        self._aggregate = aggregate
        self._client = client
        self._js = client.jetstream()
        self._surroundings = surroundings
        self._hint = asyncio.Event()
        self._session = Session(settings, "relay", self._listen)
        self.holding = asyncio.Event()
        """Set once the lease has been taken."""

    async def run(self) -> None:
        """Relay until cancelled."""
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._hold(backoff)
                except LeaseLost as error:
                    self._surroundings.away(f"lease of {self._aggregate}", error)
                    await asyncio.sleep(_STAND_BACK_S)
                except Unavailable as error:
                    self._surroundings.away("primary database", error)
                    await backoff.wait()
                except NotStored as error:
                    self._surroundings.away(f"stream of {self._aggregate}", error)
                    await backoff.wait()
        finally:
            self._session.close()

    async def _hold(self, backoff: Backoff) -> None:
        partitions = partitions_of(self._aggregate)
        lease = await self._session.run(lambda connection: outbox.take_lease(connection, partitions))
        self.holding.set()
        self._surroundings.back(f"lease of {self._aggregate}")
        while events := await self._session.run(lambda c: outbox.unconfirmed(c, lease, _BATCH_MAX)):
            await self._publish(lease, events)
        while True:
            self._hint.clear()
            events = await self._session.run(lambda c: outbox.assign(c, lease, self._aggregate, _BATCH_MAX))
            self._surroundings.back("primary database")
            backoff.reset()
            if events:
                await self._publish(lease, events)
            else:
                await self._wait()

    async def _publish(self, lease: Lease, events: list[Event]) -> None:
        if not self._client.is_connected:
            raise NotStored("not connected to any NATS server")
        outcome = await publish(self._js, events, _PUBLISH_WITHIN_S)
        if outcome.stored:
            await self._session.run(lambda connection: outbox.confirm(connection, lease, outcome.stored))
        if outcome.failure is not None:
            raise NotStored(outcome.failure)
        self._surroundings.back(f"stream of {self._aggregate}")

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._hint.wait()
        except TimeoutError:
            return

    async def _listen(self, connection: asyncpg.Connection) -> None:
        await connection.add_listener(HINT_CHANNEL, self._on_hint)

    def _on_hint(self, *_: Any) -> None:
        self._hint.set()


async def main(settings: Settings, log: logging.Logger) -> None:
    """Ready once every lane holds its lease and the bus is connected."""
    surroundings = Surroundings(log)
    client = await bus.connect(settings, "relay", surroundings, log)
    lanes = [Lane(aggregate, settings, client, surroundings) for aggregate in AGGREGATES]
    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(lane.run())
            for lane in lanes:
                await lane.holding.wait()
            process.make_ready(settings.ready_file)
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(process.run("relay", main))

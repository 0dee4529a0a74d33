"""`python -m system.events.consumers.notifications`: what people should hear of is kept once, and sent until the
push service has taken it.

The effect is the row; sending is a second loop, since nothing outside a transaction can be exactly once. It sends at
least once, and a sender that is killed leaves a lease that runs out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import asyncpg
from prometheus_client import Counter, Gauge

from system import process
from system.domain.notification_rules import again_after_s, notification_of
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.guard import Admission
from system.events.consuming.postgres import PostgresEffect
from system.events.consuming.runner import main_of
from system.events.push import HttpPush, Push, PushFailed
from system.process import Backoff, DependencyState, set_within
from system.settings import Settings
from system.store import notification_queue as store
from system.store.notification_queue import Claimed, Failure
from system.store.session import Session, Unavailable
from system.wire import Event, Stream

NAME = "notifications"
_AT_ONCE = 32
_LEASE_S = 60.0
"""Longer than an attempt may take, with the commits around it."""
_LOOK_EVERY_S = 1.0
_ERROR_LENGTH_MAX = 500

_PENDING = Gauge("covenant_notifications_pending", "Notifications that wait to be delivered.")
_ATTEMPTS = Counter("covenant_notifications_attempts", "Attempts to deliver a notification.")
_DELIVERED = Counter("covenant_notifications_delivered", "Notifications that the push service took.")
_EXPIRED = Counter("covenant_notifications_expired", "Notifications that were given up as too old.")


class Notifications(PostgresEffect):
    """The effect, for one stream; `kept` is set after a commit that left something to send, for a sender beside it."""

    consumer: ClassVar[str] = NAME

    def __init__(self, settings: Settings, stream: Stream, kept: asyncio.Event | None = None) -> None:
        super().__init__(settings, stream)
        self._kept = kept
        self._any = False

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        self._any = False
        admissions = await super().apply(batch)
        if self._any and self._kept is not None:
            self._kept.set()
        return admissions

    async def effects(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        found = [one for one in map(notification_of, events) if one is not None]
        if found:
            await store.keep(connection, found)
            self._any = True


class Round(NamedTuple):
    """How many were due and tried, and how many of them were taken."""

    claimed: int
    delivered: int


class Sender:
    """Delivers what is pending through `push`; without one it only gives up what is too old. `chance` gives
    numbers from 0 to 1."""

    def __init__(
        self,
        settings: Settings,
        push: Push | None,
        dependencies: DependencyState,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._push = push
        self._dependencies = dependencies
        self._chance = chance
        self._session = Session(settings, "notifications-sender")

    async def run(self, kept: asyncio.Event) -> None:
        """Send until cancelled: at once when something was kept, and whenever something is due again."""
        backoff = Backoff()
        try:
            while True:
                kept.clear()
                try:
                    while (done := await self.round()).claimed:
                        if done.delivered:
                            backoff.reset()
                        else:
                            await backoff.wait()
                except Unavailable as error:
                    self._dependencies.away("primary database of the sender", error)
                    await backoff.wait()
                    continue
                self._dependencies.back("primary database of the sender")
                await set_within(kept, _LOOK_EVERY_S)
        finally:
            self._session.close()

    async def round(self) -> Round:
        """Give up what is too old, send what is due, once. Unavailable if what became of it could not be kept: it is
        sent again when its lease has run out."""
        _EXPIRED.inc(await self._session.run(store.expire))
        done = Round(0, 0)
        if self._push is not None:
            claimed = await self._session.run(lambda connection: store.claim(connection, _AT_ONCE, _LEASE_S))
            if claimed:
                done = Round(len(claimed), await self._send(self._push, claimed))
        _PENDING.set(await self._session.run(store.pending))
        return done

    async def _send(self, push: Push, claimed: Sequence[Claimed]) -> int:
        _ATTEMPTS.inc(len(claimed))
        outcomes = await asyncio.gather(*(self._attempt(push, one) for one in claimed))
        failures = [failure for failure in outcomes if failure is not None]
        if len(failures) == len(claimed):
            self._dependencies.away("push service", failures[0].error)
        else:
            self._dependencies.back("push service")
        failed = {failure.event_id for failure in failures}
        delivered = [one.notification.id for one in claimed if one.notification.id not in failed]
        await self._session.run(lambda connection: store.settle(connection, delivered, failures))
        _DELIVERED.inc(len(delivered))
        return len(delivered)

    async def _attempt(self, push: Push, claimed: Claimed) -> Failure | None:
        try:
            await push.send(claimed.notification)
        except PushFailed as error:
            again = again_after_s(claimed.attempts, self._chance(), error.retry_after_s)
            return Failure(claimed.notification.id, again, str(error)[:_ERROR_LENGTH_MAX])
        return None


async def main(settings: Settings, log: logging.Logger) -> None:
    """Consume and send until cancelled."""
    kept = asyncio.Event()
    push = None if settings.push_url is None else HttpPush(settings.push_url)
    if push is None:
        log.warning("COVENANT_PUSH_URL is not set: notifications wait, and expire after a day")
    consume = main_of(NAME, lambda given, stream: Notifications(given, stream, kept), per_region=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(Sender(settings, push, DependencyState(log)).run(kept))
        group.create_task(consume(settings, log))


if __name__ == "__main__":
    sys.exit(process.run(NAME, main))

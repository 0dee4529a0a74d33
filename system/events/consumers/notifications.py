"""`python -m system.events.consumers.notifications`: store the notification of every event that has one, exactly once,
and send it until the push service accepts it.

The effect is the stored row. Sending is a separate loop: it is outside the transaction, so it can only be at least
once. A sender that is killed leaves a lease that runs out.
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
"""Longer than an attempt with its commits may take."""
_POLL_EVERY_S = 1.0
_ERROR_LENGTH_MAX = 500

_PENDING = Gauge("covenant_notifications_pending", "Notifications that wait to be delivered.")
_ATTEMPTS = Counter("covenant_notifications_attempts", "Attempts to deliver a notification.")
_DELIVERED = Counter("covenant_notifications_delivered", "Notifications that the push service took.")
_EXPIRED = Counter("covenant_notifications_expired", "Notifications that were given up as too old.")


class Notifications(PostgresEffect):
    """The effect, for one stream. It sets `stored` after a commit with notifications, to wake the sender."""

    consumer: ClassVar[str] = NAME

    def __init__(self, settings: Settings, stream: Stream, stored: asyncio.Event | None = None) -> None:
        super().__init__(settings, stream)
        self._stored = stored
        self._has_new = False

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        self._has_new = False
        admissions = await super().apply(batch)
        if self._has_new and self._stored is not None:
            self._stored.set()
        return admissions

    async def effects(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        found = [one for one in map(notification_of, events) if one is not None]
        if found:
            await store.keep(connection, found)
            self._has_new = True


class Round(NamedTuple):
    """How many notifications were claimed, and how many of them were delivered."""

    claimed: int
    delivered: int


class Sender:
    """Delivers pending notifications through `push`, and expires old ones; with `push` None it only expires. `jitter`
    returns random numbers from 0 to 1."""

    def __init__(
        self,
        settings: Settings,
        push: Push | None,
        dependencies: DependencyState,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._push = push
        self._dependencies = dependencies
        self._jitter = jitter
        self._session = Session(settings, "notifications-sender")

    async def run(self, stored: asyncio.Event) -> None:
        """Send until cancelled: when `stored` is set, and when notifications are due again."""
        backoff = Backoff()
        try:
            while True:
                stored.clear()
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
                await set_within(stored, _POLL_EVERY_S)
        finally:
            self._session.close()

    async def round(self) -> Round:
        """Expire old notifications and send due ones, once. Unavailable if the outcome could not be stored: then they
        are sent again when their lease has run out."""
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
            again = again_after_s(claimed.attempts, self._jitter(), error.retry_after_s)
            return Failure(claimed.notification.id, again, str(error)[:_ERROR_LENGTH_MAX])
        return None


async def main(settings: Settings, log: logging.Logger) -> None:
    """Consume and send until cancelled."""
    stored = asyncio.Event()
    push = None if settings.push_url is None else HttpPush(settings.push_url)
    if push is None:
        log.warning("COVENANT_PUSH_URL is not set: notifications wait, and expire after a day")
    consume = main_of(NAME, lambda given, stream: Notifications(given, stream, stored))
    async with asyncio.TaskGroup() as group:
        group.create_task(Sender(settings, push, DependencyState(log)).run(stored))
        group.create_task(consume(settings, log))


if __name__ == "__main__":
    sys.exit(process.run(NAME, main))

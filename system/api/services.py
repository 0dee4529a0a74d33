"""What the handlers work with: the database for reading and writing, the cache, the bus, the hint."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from litestar import Request

from system.api.auth.access import Tokens
from system.api.auth.refusals import Refusals
from system.api.auth.token_issuer import SignIns
from system.api.health import Bus, Health
from system.api.http.door import Door
from system.api.http.metrics import READ_AFTER
from system.api.live.event_stream import Realtime
from system.api.live.hub import Hub
from system.api.live.wake_follower import Wakes
from system.api.resources import totals
from system.process import DependencyState
from system.settings import Settings
from system.store.event_history import EventHistory
from system.store.item_sql import SEND_HINT
from system.store.own_writes import OwnWrites
from system.store.primary import NotWritten, OutcomeUnknown, Primary
from system.store.reader import Reader
from system.store.single_flight import SingleFlight
from system.store.valkey import client as valkey_client
from system.store.valkey.totals_cache import TotalsCache

_CACHE_WITHIN_S = 0.05
_FOLLOW_WITHIN_S = 3.0


class Hint:
    """Tells the relay that there is something new, once for all writes of a moment, and never in the way of
    a write's answer."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        self._wanted = asyncio.Event()

    def send(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            # It is only a hint: the relay looks by itself ten times a second.
            with contextlib.suppress(NotWritten, OutcomeUnknown):
                await self._primary.fetch(SEND_HINT)


@dataclass(frozen=True)
class Services:
    region: str
    reader: Reader
    primary: Primary
    totals: SingleFlight[bytes]
    hint: Hint
    health: Health
    door: Door
    sign_ins: SignIns
    refusals: Refusals
    own_writes: OwnWrites
    realtime: Realtime
    wakes: Wakes

    def end_waiting(self) -> None:
        """Let every request end that waits for news, so that the server can."""
        self.realtime.hub.end()
        self.wakes.end()


@contextlib.asynccontextmanager
async def open_services(settings: Settings, tokens: Tokens, log: logging.Logger) -> AsyncIterator[Services]:
    """The services for one process; they find and lose what is around them by themselves."""
    dependencies = DependencyState(log)
    reader = Reader(settings, dependencies)
    primary = Primary(settings, dependencies)
    cache = TotalsCache(valkey_client.connect(settings, _CACHE_WITHIN_S), dependencies)
    bus = Bus(settings, dependencies, log)
    hint = Hint(primary)
    refusals = Refusals(primary, settings.region)
    own_writes = OwnWrites(reader, primary, lambda member: READ_AFTER.labels(member).inc())
    history = EventHistory(reader, primary)
    follower = valkey_client.connect(settings, _FOLLOW_WITHIN_S)
    realtime = Realtime(Hub(follower, history, dependencies), history)
    wakes = Wakes(follower, history, dependencies)
    services = Services(
        region=settings.region, reader=reader, primary=primary, totals=totals.shared(reader, cache), hint=hint,
        health=Health(reader, primary, cache, bus), door=Door(tokens, refusals), sign_ins=SignIns(reader, tokens),
        refusals=refusals, own_writes=own_writes, realtime=realtime, wakes=wakes,
    )  # fmt: skip
    tasks = [asyncio.create_task(one.run()) for one in (bus, hint, refusals, realtime.hub, wakes)]
    try:
        yield services
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        own_writes.close()
        reader.close()
        primary.close()
        await cache.close()
        await follower.aclose()


def services_of(request: Request[Any, Any, Any]) -> Services:
    return cast(Services, request.app.state.services)

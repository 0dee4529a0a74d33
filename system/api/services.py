"""What the handlers work with: the database for reading and writing, the cache, the bus, the hint."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from litestar import Request

from system.api.health import Bus, Health
from system.process import Surroundings
from system.settings import Settings
from system.store import totals_cache
from system.store.primary import NotWritten, OutcomeUnknown, Primary
from system.store.reader import Reader
from system.store.rows import SEND_HINT
from system.store.totals_cache import TotalsCache

_CACHE_WITHIN_S = 0.05


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
    cache: TotalsCache
    hint: Hint
    health: Health


@contextlib.asynccontextmanager
async def open_services(settings: Settings, log: logging.Logger) -> AsyncIterator[Services]:
    """The services for one process; they find and lose what is around them by themselves."""
    surroundings = Surroundings(log)
    reader = Reader(settings, surroundings)
    primary = Primary(settings, surroundings)
    cache = TotalsCache(totals_cache.connect(settings, _CACHE_WITHIN_S), surroundings)
    bus = Bus(settings, surroundings, log)
    hint = Hint(primary)
    services = Services(settings.region, reader, primary, cache, hint, Health(reader, primary, cache, bus))
    tasks = [asyncio.create_task(bus.run()), asyncio.create_task(hint.run())]
    try:
        yield services
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        reader.close()
        primary.close()
        await cache.close()


def services_of(request: Request[Any, Any, Any]) -> Services:
    return cast(Services, request.app.state.services)

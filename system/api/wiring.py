"""Builds the services of an API process, and runs their background tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from system.api.auth.middleware import AuthMiddleware
from system.api.auth.refusal_recorder import RefusalRecorder
from system.api.auth.token_issuer import TokenIssuer
from system.api.auth.tokens import Tokens
from system.api.health import BusConnection, Health
from system.api.http.metrics import READ_AFTER
from system.api.live.event_hub import EventHub
from system.api.live.event_stream import EventStreams
from system.api.live.wake_hub import WakeHub
from system.api.relay_hint import RelayHint
from system.api.resources.cached_totals import shared_totals
from system.api.services import Services
from system.process import DependencyState
from system.settings import Settings
from system.store.event_history import EventHistory
from system.store.own_writes import OwnWrites
from system.store.primary import Primary
from system.store.reader import Reader
from system.store.valkey import client as valkey_client
from system.store.valkey.totals_cache import TotalsCache

_CACHE_WITHIN_S = 0.05
_FOLLOW_WITHIN_S = 3.0


@contextlib.asynccontextmanager
async def open_services(settings: Settings, tokens: Tokens, log: logging.Logger) -> AsyncIterator[Services]:
    """The services of one process. Opening them waits for nothing: each connects in the background and reconnects."""
    dependencies = DependencyState(log)
    reader = Reader(settings, dependencies)
    primary = Primary(settings, dependencies)
    cache = TotalsCache(valkey_client.connect(settings, _CACHE_WITHIN_S), dependencies)
    bus = BusConnection(settings, dependencies, log)
    relay_hint = RelayHint(primary)
    refusals = RefusalRecorder(primary, settings.region)
    own_writes = OwnWrites(reader, primary, lambda member: READ_AFTER.labels(member).inc())
    history = EventHistory(reader, primary)
    follower = valkey_client.connect(settings, _FOLLOW_WITHIN_S)
    event_streams = EventStreams(EventHub(follower, history, dependencies), history)
    wake_hub = WakeHub(follower, history, dependencies)
    services = Services(
        region=settings.region,
        reader=reader,
        primary=primary,
        totals=shared_totals(reader, cache),
        relay_hint=relay_hint,
        health=Health(reader, primary, cache, bus),
        auth=AuthMiddleware(tokens, refusals),
        token_issuer=TokenIssuer(reader, tokens),
        refusals=refusals,
        own_writes=own_writes,
        event_streams=event_streams,
        wake_hub=wake_hub,
    )
    tasks = [asyncio.create_task(one.run()) for one in (bus, relay_hint, refusals, event_streams.hub, wake_hub)]
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

"""Readiness and liveness: whether this process can read, write and publish.

The bus is probed by storing a message, because a NATS server calls itself healthy long after its cluster has lost its
quorum. Valkey is optional: without it the API reads from the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from asyncpg import PostgresError
from litestar import Request, get
from nats.aio.client import Client
from nats.errors import Error as NatsError
from redis import RedisError

from system import wire
from system.api.http.messages import Answer, encode
from system.api.http.openapi import documented
from system.events import bus
from system.process import DependencyState
from system.settings import Settings
from system.store.primary import NotWritten, OutcomeUnknown, Primary
from system.store.reader import NothingToRead, Reader
from system.store.valkey.totals_cache import TotalsCache

_WITHIN_S = 1.0
_FRESH_FOR_S = 1.0
_IS_PRIMARY = "select pg_is_in_recovery()"
_REPLACE_LAST = {"Nats-Rollup": "sub"}
_FAILURES = (NotWritten, OutcomeUnknown, NothingToRead, PostgresError, NatsError, RedisError, OSError)


class Check(msgspec.Struct, frozen=True):
    """The outcome of a probe. Without a `required` dependency the process is not ready."""

    name: str
    ok: bool
    required: bool
    detail: str


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    region: str
    checks: list[Check]


class BusConnection:
    """This process's connection to the bus, for probes."""

    def __init__(self, settings: Settings, dependencies: DependencyState, log: logging.Logger) -> None:
        self._settings = settings
        self._dependencies = dependencies
        self._log = log
        self._client: Client | None = None

    async def run(self) -> None:
        """Keep the connection open until cancelled."""
        self._client = await bus.connect(self._settings, "api", self._dependencies, self._log)
        try:
            await asyncio.Event().wait()
        finally:
            await self._client.close()

    async def probe(self) -> None:
        """Store a message in each stream. ConnectionError, TimeoutError or an error of nats if that fails."""
        if self._client is None or not self._client.is_connected:
            raise ConnectionError("not connected to any NATS server")
        js = self._client.jetstream(timeout=_WITHIN_S)
        await asyncio.gather(*(
            js.publish(stream.health_subject, b"", headers=dict(_REPLACE_LAST)) for stream in wire.STREAMS
        ))  # fmt: skip


class Health:
    """Runs all checks at once, and caches the outcome for a second."""

    def __init__(self, reader: Reader, primary: Primary, cache: TotalsCache, bus: BusConnection) -> None:
        self._probes: list[tuple[str, bool, Callable[[], Awaitable[object]]]] = [
            ("database read", True, lambda: reader.fetch("select 1")),
            ("primary database", True, lambda: primary.fetch(_IS_PRIMARY)),
            ("bus", True, bus.probe),
            ("valkey", False, cache.ping),
        ]
        self._lock = asyncio.Lock()
        self._checks: list[Check] = []
        self._fresh_until = float("-inf")

    async def readiness(self, region: str) -> Readiness:
        """Ready if every required dependency answers. Takes little more than a second at most."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._checks = list(await asyncio.gather(*(_check(*probe) for probe in self._probes)))
                self._fresh_until = time.monotonic() + _FRESH_FOR_S
        return Readiness(all(one.ok or not one.required for one in self._checks), region, self._checks)


async def _check(name: str, required: bool, probe: Callable[[], Awaitable[object]]) -> Check:
    try:
        async with asyncio.timeout(_WITHIN_S):
            await probe()
    except _FAILURES as error:
        return Check(name, False, required, str(error) or f"no answer within {_WITHIN_S} s")
    return Check(name, True, required, "" if required else "optional")


@get(wire.LIVE, summary="The process runs", opt=documented(dict[str, str], signed_in=False))
async def live() -> Answer:
    return Answer(b'{"status":"live"}')


@get(
    wire.READY,
    summary="The process can do its work, and what is away if it cannot",
    opt=documented(Readiness, signed_in=False),
)
async def ready(request: Request[Any, Any, Any]) -> Answer:
    services = request.app.state.services
    found = await services.health.readiness(services.region)
    return Answer(encode(found), 200 if found.ready else 503, {"cache-control": "no-store"})

"""A process's connection to NATS: waits for the bus at the start, and reconnects by itself afterwards."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.errors import Error

from system import wire
from system.process import DependencyState, retry
from system.settings import Settings

_CONNECT_WITHIN_S = 5.0
_SERVER_WITHIN_S = 1
_PING_EVERY_S = 2
_PINGS_UNANSWERED_MAX = 2


async def connect(settings: Settings, name: str, dependencies: DependencyState, log: logging.Logger) -> Client:
    """A connected client; tries until there is one. It leaves a server that is frozen after about four seconds."""

    async def attempt() -> Client:
        client = Client()
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await _connect(client, settings, name, dependencies, log)
        except (OSError, Error):
            await client.close()
            raise
        return client

    return await retry(attempt, (OSError, Error), dependencies, "bus")


async def retry_jetstream(dependencies: DependencyState, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` on streams until it succeeds: a cluster that has just started has no leader for some seconds."""
    await retry(work, (TimeoutError, Error), dependencies, "JetStream")


async def _connect(
    client: Client, settings: Settings, name: str, dependencies: DependencyState, log: logging.Logger
) -> None:
    logged: set[str] = set()

    async def on_error(error: Exception) -> None:
        if not client.is_connected:
            dependencies.away("bus", error)
        elif str(error) not in logged and len(logged) < 100:
            logged.add(str(error))
            log.error("bus: %s", error)

    async def on_disconnected() -> None:
        if not client.is_closed:
            dependencies.away("bus", "the connection was lost")

    async def on_reconnected() -> None:
        dependencies.back("bus")

    await client.connect(
        settings.nats_urls.split(","),
        user=settings.nats_user,
        password=settings.nats_password,
        inbox_prefix=wire.inbox_prefix(settings.nats_user),
        tls=_tls(settings),
        tls_handshake_first=settings.nats_ca is not None,
        name=f"covenant-{name}-{settings.region}",
        connect_timeout=_SERVER_WITHIN_S,
        reconnect_time_wait=1,
        max_reconnect_attempts=-1,
        ping_interval=_PING_EVERY_S,
        max_outstanding_pings=_PINGS_UNANSWERED_MAX,
        dont_randomize=True,
        error_cb=on_error,
        disconnected_cb=on_disconnected,
        reconnected_cb=on_reconnected,
    )


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Verifies the server's certificate and name, presents our own, and requires TLS 1.3."""
    if settings.nats_ca is None:
        return None
    context = ssl.create_default_context(cafile=settings.nats_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context

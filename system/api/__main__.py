"""`python -m system.api`: serve one region over HTTP until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.server.embed import Server
from litestar.types import ASGIApp

from system import process
from system.api.app import create_app
from system.api.auth.tokens import Tokens
from system.api.http.tcp_timeout import set_user_timeout
from system.api.services import Services
from system.api.wiring import open_services
from system.settings import Settings

_POLL_EVERY_S = 0.2
_CONNECTIONS_MAX = 50_000
"""More than SUBSCRIBERS_MAX and WAITING_MAX together, so that other requests are still served."""


async def main(settings: Settings, log: logging.Logger) -> None:
    """Serve at once. Make the ready file when every dependency has answered. SettingsError without keys for tokens."""
    tokens = Tokens(settings.token_keys)
    await _wait_for_port(settings, log)
    async with open_services(settings, tokens, log) as services:
        servers = _servers(create_app(services), settings)
        serving = asyncio.gather(*(server.serve() for server in servers.values()))
        readying = asyncio.ensure_future(_make_ready(services, settings))
        # The servers' tasks have opened their listeners by then.
        for port in servers:
            asyncio.get_running_loop().call_later(_POLL_EVERY_S, set_user_timeout, port)
        try:
            await asyncio.shield(serving)
        finally:
            readying.cancel()
            services.end_waiting()
            for server in servers.values():
                server.stop()  # type: ignore[no-untyped-call]
            await serving


def _servers(app: ASGIApp, settings: Settings) -> dict[int, Server]:
    """The server of each port: the process's own port, and those that it shares with the region's other APIs. A shared
    port needs no load balancer: the kernel gives each new connection to one of the processes that listen."""
    servers = {settings.port: _server(app, settings.host, settings.port)}
    if settings.region_port:
        servers[settings.region_port] = _server(app, settings.region_host, settings.region_port)
    if settings.region_tls_port and settings.tls_cert and settings.tls_key:
        servers[settings.region_tls_port] = _server(
            app, settings.region_host, settings.region_tls_port,
            ssl_cert=Path(settings.tls_cert), ssl_key=Path(settings.tls_key), ssl_protocol_min=SSLProtocols.tls13,
        )  # fmt: skip
    return servers


def _server(app: ASGIApp, host: str, port: int, **tls: Any) -> Server:
    return Server(
        app, address=host, port=port, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False, backlog=1024,
        backpressure=_CONNECTIONS_MAX, log_enabled=False, **tls,
    )  # fmt: skip


async def _wait_for_port(settings: Settings, log: logging.Logger) -> None:
    """Wait until no other process listens on our own port. granian would share the port with it, and an API that an
    earlier run left behind would answer half of the requests."""
    logged = False
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, settings.port))
                return
            except OSError as error:
                if not logged:
                    log.error("cannot listen on %s:%d yet: %s", settings.host, settings.port, error)
                    logged = True
        await asyncio.sleep(_POLL_EVERY_S)


async def _make_ready(services: Services, settings: Settings) -> None:
    while not (await services.health.readiness(settings.region)).ready:
        await asyncio.sleep(_POLL_EVERY_S)
    # What exists now stays for the process's life: keep it out of further garbage collections.
    gc.collect()
    gc.freeze()
    process.make_ready(settings.ready_file)


if __name__ == "__main__":
    sys.exit(process.run("api", main))

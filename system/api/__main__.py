"""`python -m system.api`: serve one region over HTTP until told to end."""

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
from system.api.auth.access import Tokens
from system.api.http.listener import end_untaken
from system.api.services import Services, open_services
from system.settings import Settings

_LOOK_EVERY_S = 0.2
_CONNECTIONS_MAX = 50_000
"""More than may wait for news at a time (SUBSCRIBERS_MAX, WAITING_MAX): others are served beside them."""


async def main(settings: Settings, log: logging.Logger) -> None:
    """Serve at once; the ready file appears when everything that the API needs has answered. SettingsError without
    keys for tokens."""
    tokens = Tokens(settings.token_keys)
    await _port_of_our_own(settings, log)
    async with open_services(settings, tokens, log) as services:
        servers = _servers(create_app(services), settings)
        serving = asyncio.gather(*(server.serve() for server in servers.values()))
        readying = asyncio.ensure_future(_make_ready(services, settings))
        # The listeners are there as soon as the servers' tasks have run.
        for port in servers:
            asyncio.get_running_loop().call_later(_LOOK_EVERY_S, end_untaken, port)
        try:
            await asyncio.shield(serving)
        finally:
            readying.cancel()
            services.end_waiting()
            for server in servers.values():
                server.stop()  # type: ignore[no-untyped-call]
            await serving


def _servers(app: ASGIApp, settings: Settings) -> dict[int, Server]:
    """What serves each port: our own, and those that we share with the region's other APIs. A shared one needs nobody
    who passes requests on: the kernel gives a new connection to one of those who listen, and to none that has ended."""
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


async def _port_of_our_own(settings: Settings, log: logging.Logger) -> None:
    """Wait until nobody else listens on our port. granian would share it, and an API that was left behind
    would then answer half of the requests."""
    told = False
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, settings.port))
                return
            except OSError as error:
                if not told:
                    log.error("cannot listen on %s:%d yet: %s", settings.host, settings.port, error)
                    told = True
        await asyncio.sleep(_LOOK_EVERY_S)


async def _make_ready(services: Services, settings: Settings) -> None:
    while not (await services.health.readiness(settings.region)).ready:
        await asyncio.sleep(_LOOK_EVERY_S)
    # What there is now stays for good: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    process.make_ready(settings.ready_file)


if __name__ == "__main__":
    sys.exit(process.run("api", main))

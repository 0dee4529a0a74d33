"""One connection to a NATS cluster that is kept up: the bulk client's counterpart of nats-py.

It connects to the servers in turn, answers PING, notices a server that is frozen (it pings, too, and drops a
connection on which nothing came for `stale_after_s`), and hands its owner every message, connect and loss.
It never queues: what is sent while there is no connection is refused, so that the owner knows which of its
messages can have been seen by a server.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Protocol, cast
from urllib.parse import urlsplit

from infra.machine.spec import EngineError
from infra.machine.waiting import eventually
from infra.target import Login, Target
from loadtests.clients import nats_wire
from system.wire import inbox_prefix

_CONNECT_TIMEOUT_S = 2.0
_BACKOFF_FIRST_S = 0.05
_BACKOFF_MOST_S = 0.5


class Owner(Protocol):
    """The user of a `NatsClient`. All of it is called on the event loop and must not block."""

    def on_connected(self) -> None:
        """A server has taken our credentials: subscribe now."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone; what was sent and not answered may or may not have been taken."""

    def on_batch(self) -> None:
        """Bytes have come: their messages follow at once. The place to read a clock once for all of them."""

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None: ...

    def on_refused(self, what: str) -> None:
        """The server denies a permission and keeps the connection."""


def inbox(login: Login) -> bytes:
    """A subject for answers, with no other subscriber."""
    return f"{inbox_prefix(login.user)}.{secrets.token_hex(8)}".encode()


class NatsClient:
    """Keeps a connection to one of the target's nodes, as its user for load, for `owner` until `close`. `bulk` takes
    what it can of what comes before `owner` has it."""

    def __init__(
        self, target: Target, owner: Owner, *, name: str, stale_after_s: float = 5.0,
        bulk: nats_wire.Bulk | None = None,
    ) -> None:  # fmt: skip
        self._addresses = [_address(url) for url in target.nats]
        self._login = target.nats_load
        self._tls = target.context()
        self._owner = owner
        self._name = name
        self._bulk = bulk
        self._stale_after_s = stale_after_s
        self._connect_timeout_s = min(_CONNECT_TIMEOUT_S, stale_after_s)
        self._link: _Link | None = None
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())
        self.last_problem = "not connected yet"

    @property
    def connected(self) -> bool:
        return self._link is not None

    async def wait_connected(self, deadline_s: float = 15.0) -> None:
        """EngineError if no server has taken us by then."""
        if not await eventually(lambda: self.connected, deadline_s):
            raise EngineError(
                f"expected a NATS server that takes us within {deadline_s:.0f} s, found {self.last_problem}; "
                "is the system up? ./covenant status"
            )

    def write(self, data: bytes) -> bool:
        """Send protocol bytes; False if there is no connection, and then nothing was sent."""
        return self._link is not None and self._link.write(data)

    async def close(self) -> None:
        """Flush what was written, then close. At most a second."""
        if self._link is not None:
            self._link.transport.close()
        self._task.cancel()
        await asyncio.wait([self._task], timeout=1.0)

    async def _keep_connected(self) -> None:
        turn, backoff = 0, _BACKOFF_FIRST_S
        while True:
            host, port = self._addresses[turn % len(self._addresses)]
            turn += 1
            link = _Link(self._login, self._owner, self._name, self._bulk)
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    await self._reach(link, host, port)
                    await link.ready
            except (OSError, TimeoutError) as error:
                link.lose("gave up connecting")
                self.last_problem = f"{host}:{port}: {error or 'no answer'}"
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, _BACKOFF_MOST_S)
                continue
            backoff = _BACKOFF_FIRST_S
            self._link = link
            self._owner.on_connected()
            try:
                await self._watch(link)
            finally:
                self._link = None
            self.last_problem = f"{host}:{port}: {link.reason}"
            self._owner.on_lost(self.last_problem)

    async def _reach(self, link: _Link, host: str, port: int) -> None:
        """Connect, and with TLS shake hands before the server has said anything."""
        name = host if self._tls else None
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: link, host, port, ssl=self._tls, server_hostname=name)

    async def _watch(self, link: _Link) -> None:
        """Return when the link is lost; ping it meanwhile, and lose it if nothing comes back."""
        interval = self._stale_after_s / 4
        while not link.lost.done():
            link.write(b"PING\r\n")
            await asyncio.wait([link.lost], timeout=interval)
            silent_s = time.monotonic() - link.heard
            if silent_s > self._stale_after_s:
                link.lose(f"nothing heard for {silent_s:.1f} s")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "nats" or not parts.hostname or not parts.port:
        raise ValueError(f"expected nats://host:port, found {url!r}")
    return parts.hostname, parts.port


class _Link(asyncio.Protocol):
    """One TCP connection, from INFO to its loss. `ready` is set when the server took the credentials."""

    transport: asyncio.Transport

    def __init__(self, login: Login, owner: Owner, name: str, bulk: nats_wire.Bulk | None) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.heard = time.monotonic()
        self.reason = "closed by the server"
        self._introduced = False
        self._login = login
        self._owner = owner
        self._name = name
        self._parser = nats_wire.Parser(self, bulk)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def write(self, data: bytes) -> bool:
        """Send; False if the connection is closing: uvloop refuses to write then, ahead of `connection_lost`."""
        if self.transport.is_closing():
            return False
        self.transport.write(data)
        return True

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        self._owner.on_batch()
        try:
            self._parser.feed(data)
        except nats_wire.ProtocolError as error:
            self.lose(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self.lose(str(error) if error else self.reason)

    def lose(self, reason: str) -> None:
        if self.lost.done():
            return
        self.reason = reason
        self.lost.set_result(None)
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(reason))
            self.ready.exception()  # Retrieved, since there may be no waiter any more: asyncio would warn.
        if hasattr(self, "transport"):
            self.transport.abort()

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        self._owner.on_message(subject, reply, headers, payload)

    def on_control(self, verb: bytes, argument: bytes) -> None:
        if verb == b"PING":
            self.write(b"PONG\r\n")
        elif verb == b"PONG":
            if not self.ready.done():
                self.ready.set_result(None)
        elif verb == b"INFO":
            self._introduce(argument)
        elif verb == b"-ERR":
            self._refused(argument.decode("utf-8", "replace").strip("' "))

    def _introduce(self, argument: bytes) -> None:
        """Answer the server's first INFO with our credentials; later ones only list other servers."""
        if self._introduced or self.lost.done():
            return
        self._introduced = True
        login, encrypted = self._login, self.transport.get_extra_info("sslcontext") is not None
        self.write(
            nats_wire.hello(
                argument, user=login.user, password=login.password, name=self._name, encrypted=encrypted
            )
        )  # fmt: skip

    def _refused(self, what: str) -> None:
        """-ERR: a permission that is missing leaves the connection as it is; all else ends it."""
        if "permissions violation" in what.lower():
            self._owner.on_refused(what)
        else:
            self.lose(what)

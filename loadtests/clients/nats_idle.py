"""One connection to a NATS server that is opened, then held: as little as it takes to be one among tens of thousands.

An asyncio transport over TLS keeps a task and 256 KiB of buffers for each; this is a socket whose readiness the loop
watches, and OpenSSL's own state (35 KB in all). It is taken when the server has answered its first PING, and answers
the server's from then on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import Protocol

from infra.target import Login
from loadtests.clients import nats_wire

_READ_BYTES = 16_384
"""A TLS record."""
_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN)


class Owner(Protocol):
    """The user of `Connection`s. All of it is called on the event loop and must not block."""

    def on_answer(self, connection: Connection) -> None:
        """The server answered a PING: the first time it took the connection."""

    def on_ended(self, connection: Connection, reason: str) -> None:
        """It is gone, or never came to be; it is closed."""


class Connection:
    """Opens at once, and stays until `close`, or until `Owner.on_ended` is called."""

    __slots__ = ("_context", "_host", "_introduced", "_login", "_loop", "_owner", "_parser", "_socket", "intended_ns",
                 "number", "taken")  # fmt: skip

    def __init__(
        self, owner: Owner, login: Login, context: ssl.SSLContext | None, address: tuple[str, int], *, number: int,
        intended_ns: int,
    ) -> None:  # fmt: skip
        """OSError if not even a socket is to be had."""
        self.number, self.intended_ns, self.taken = number, intended_ns, False
        self._owner, self._login, self._context, self._host = owner, login, context, address[0]
        self._loop = asyncio.get_running_loop()
        self._parser = nats_wire.Parser(self)
        self._introduced = False
        self._socket: socket.socket | None = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = self._socket.connect_ex(address)
        if code and code not in _UNDER_WAY:
            self.close()
            raise OSError(code, os.strerror(code))
        self._loop.add_writer(self._socket.fileno(), self._connected)

    def ping(self) -> None:
        """Ask for an answer; if that fails the connection ends."""
        self._write(b"PING\r\n")

    def close(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _end(self, reason: str) -> None:
        if self._socket is not None:
            self.close()
            self._owner.on_ended(self, reason)

    def _connected(self) -> None:
        """The connection stands, or failed to."""
        assert self._socket is not None
        descriptor = self._socket.fileno()
        self._loop.remove_writer(descriptor)
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(os.strerror(code))
            return
        if self._context is None:
            self._loop.add_reader(descriptor, self._read)
            return
        try:
            # Under TLS the client speaks first, before the server has said anything.
            self._socket = self._context.wrap_socket(
                self._socket, do_handshake_on_connect=False, server_hostname=self._host
            )
        except OSError as error:
            self._end(str(error))
            return
        self._loop.add_reader(descriptor, self._shake_hands)
        self._shake_hands()

    def _shake_hands(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return
        except OSError as error:
            self._end(f"TLS: {error}")
            return
        self._loop.add_reader(self._socket.fileno(), self._read)
        self._read()

    def _read(self) -> None:
        """Until there is nothing left: what OpenSSL has decrypted does not make the socket readable."""
        while self._socket is not None:
            try:
                data = self._socket.recv(_READ_BYTES)
            except (ssl.SSLWantReadError, BlockingIOError):
                return
            except OSError as error:
                self._end(str(error))
                return
            if not data:
                self._end("closed by the server")
                return
            try:
                self._parser.feed(data)
            except nats_wire.ProtocolError as error:
                self._end(str(error))

    def _write(self, data: bytes) -> None:
        """A few bytes always fit; a peer that has let them pile up is as good as gone."""
        if self._socket is None:
            return
        try:
            sent = self._socket.send(data)
        except OSError as error:
            self._end(str(error))
            return
        if sent < len(data):
            self._end("the server reads nothing")

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        """Never called: this connection subscribes to nothing."""

    def on_control(self, verb: bytes, argument: bytes) -> None:
        if verb == b"PING":
            self._write(b"PONG\r\n")
        elif verb == b"PONG":
            self._owner.on_answer(self)
        elif verb == b"INFO" and not self._introduced:
            self._introduce(argument)
        elif verb == b"-ERR":
            self._end(argument.decode("utf-8", "replace").strip("' "))

    def _introduce(self, argument: bytes) -> None:
        self._introduced = True
        login, encrypted = self._login, self._context is not None
        self._write(
            nats_wire.hello(
                argument, user=login.user, password=login.password, name=f"load-{self.number}", encrypted=encrypted
            )
        )  # fmt: skip

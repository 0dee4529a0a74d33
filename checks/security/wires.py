"""Tries a listener with a wrong kind of connection: in plain text, with TLS 1.2, with a wrong password.

The attempts use bare sockets, so that no client library refuses before the server does.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from infra.site.bus_users import User

WITHIN_S = 5.0
_PIECE = 65_536
_ANSWER_MAX = 1024 * 1024
_HELLOS = 3
"""Handshakes that are tried with a server that speaks first and in plain text: NATS does so with a client whose hello
comes late, as on a machine that stalls for 0.3 s. One that never speaks TLS answers none of them."""
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class Listener(NamedTuple):
    """Where a part listens. `asks_first`: the client has to ask for TLS before the handshake, as with PostgreSQL."""

    name: str
    host: str
    port: int
    asks_first: bool = False


def handshake(listener: Listener, context: ssl.SSLContext) -> str:
    """The version of TLS (`TLSv1.3`) that a handshake with `context` ends with. OSError (also ssl.SSLError) if it
    fails."""
    with _secured(listener, context) as link:
        # With TLS 1.3 a server judges a client's certificate after the handshake: a refusal comes with the first read.
        link.settimeout(0.3)
        with suppress(TimeoutError):
            link.recv(1)
        return link.version() or "none"


def _secured(listener: Listener, context: ssl.SSLContext) -> ssl.SSLSocket:
    for _ in range(_HELLOS):
        try:
            return _secured_once(listener, context)
        except ssl.SSLError as error:
            late = error
            if error.reason != "WRONG_VERSION_NUMBER":
                raise
    raise late


def _secured_once(listener: Listener, context: ssl.SSLContext) -> ssl.SSLSocket:
    link = socket.create_connection((listener.host, listener.port), WITHIN_S)
    try:
        if listener.asks_first:
            link.sendall(_SSL_REQUEST)
            if link.recv(1) != b"S":
                raise ConnectionError("the server has no TLS")
        return context.wrap_socket(link, server_hostname=listener.host)
    except BaseException:
        link.close()
        raise


def below_1_3(context: ssl.SSLContext) -> None:
    """Limit a client's context to TLS 1.2, with any cipher that both sides know."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ALL")


def exchange(listener: Listener, request: bytes) -> bytes:
    """What a listener answers to a request in plain text, until it is silent or closes. OSError if it does not
    listen."""
    with socket.create_connection((listener.host, listener.port), WITHIN_S) as link:
        link.settimeout(1.0)
        link.sendall(request)
        return _receive(link, until=b"")


def exchange_nats(
    listener: Listener, context: ssl.SSLContext | None, user: str, password: str, lines: Iterable[bytes] = ()
) -> bytes:
    """What a NATS server answers to a user's protocol lines, until its PONG or until it closes. Without `context` they
    are sent in plain text. OSError if the connection or the handshake fails."""
    hello = {"verbose": False, "pedantic": False, "lang": "raw", "version": "1", "user": user, "pass": password}
    request = b"CONNECT " + json.dumps(hello).encode() + b"\r\n" + b"".join(lines) + b"PING\r\n"
    plain = socket.create_connection((listener.host, listener.port), WITHIN_S) if context is None else None
    with plain or _secured(listener, context) as link:  # type: ignore[arg-type]
        link.settimeout(WITHIN_S)
        link.sendall(request)
        return _receive(link, until=b"PONG\r\n")


def _receive(link: socket.socket, until: bytes) -> bytes:
    received = b""
    try:
        while len(received) < _ANSWER_MAX and not (until and until in received):
            piece = link.recv(_PIECE)
            if not piece:
                break
            received += piece
    except OSError:
        return received
    return received


def not_refused(
    listener: Listener, context: ssl.SSLContext | None, user: str, password: str, forbidden: User
) -> list[str]:
    """The forbidden subjects on which a NATS server let a user publish or to which it let it subscribe."""
    lines = [b"PUB %b 2\r\n{}\r\n" % subject.encode() for subject in forbidden.publish]
    lines += [b"SUB %b %d\r\n" % (subject.encode(), sid) for sid, subject in enumerate(forbidden.subscribe, 1)]
    answer = exchange_nats(listener, context, user, password, lines).decode(errors="replace")
    tried = (*forbidden.publish, *forbidden.subscribe)
    if not answer.endswith("PONG\r\n"):
        return list(tried)
    return [subject for subject in tried if f'to "{subject}"' not in answer]

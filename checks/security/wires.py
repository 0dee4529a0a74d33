"""Trying a listener with the wrong kind of connection: in the clear, with TLS 1.2, with another's password.

Each answers what happened in words that can stand in a report. The attempts are made with plain sockets, so that no
client library's own caution refuses before the server does.
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
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class Listener(NamedTuple):
    """Where something listens. `asks_first`: PostgreSQL speaks TLS only after it was asked to."""

    name: str
    host: str
    port: int
    asks_first: bool = False


def handshake(listener: Listener, context: ssl.SSLContext) -> str:
    """The version of TLS that is spoken with `context`, `TLSv1.3`. OSError (ssl.SSLError among them) if none is."""
    with _secured(listener, context) as link:
        # With TLS 1.3 a client's certificate is judged after the handshake: a refusal is told with the first read.
        link.settimeout(0.3)
        with suppress(TimeoutError):
            link.recv(1)
        return link.version() or "none"


def _secured(listener: Listener, context: ssl.SSLContext) -> ssl.SSLSocket:
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
    """Have a client's context speak TLS 1.2 at most, with whatever cipher either side knows."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ALL")


def say(listener: Listener, words: bytes) -> bytes:
    """What a listener answers to words in the clear, until it is silent or has gone. OSError if it does not listen."""
    with socket.create_connection((listener.host, listener.port), WITHIN_S) as link:
        link.settimeout(1.0)
        link.sendall(words)
        return _hear(link, until=b"")


def nats(
    listener: Listener, context: ssl.SSLContext | None, user: str, password: str, lines: Iterable[bytes] = ()
) -> bytes:
    """What a NATS server answers to a user's lines, until its PONG or until it has gone. OSError if it takes no
    connection or no such TLS."""
    hello = {"verbose": False, "pedantic": False, "lang": "raw", "version": "1", "user": user, "pass": password}
    words = b"CONNECT " + json.dumps(hello).encode() + b"\r\n" + b"".join(lines) + b"PING\r\n"
    plain = socket.create_connection((listener.host, listener.port), WITHIN_S) if context is None else None
    with plain or _secured(listener, context) as link:  # type: ignore[arg-type]
        link.settimeout(WITHIN_S)
        link.sendall(words)
        return _hear(link, until=b"PONG\r\n")


def _hear(link: socket.socket, until: bytes) -> bytes:
    heard = b""
    try:
        while len(heard) < _ANSWER_MAX and not (until and until in heard):
            piece = link.recv(_PIECE)
            if not piece:
                break
            heard += piece
    except OSError:
        return heard
    return heard


def not_refused(
    listener: Listener, context: ssl.SSLContext | None, user: str, password: str, forbidden: User
) -> list[str]:
    """The forbidden subjects that a NATS server did not refuse a user, to publish on or to listen to."""
    lines = [b"PUB %b 2\r\n{}\r\n" % subject.encode() for subject in forbidden.publish]
    lines += [b"SUB %b %d\r\n" % (subject.encode(), sid) for sid, subject in enumerate(forbidden.subscribe, 1)]
    heard = nats(listener, context, user, password, lines).decode(errors="replace")
    tried = (*forbidden.publish, *forbidden.subscribe)
    if not heard.endswith("PONG\r\n"):
        return list(tried)
    return [subject for subject in tried if f'to "{subject}"' not in heard]

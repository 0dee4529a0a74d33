"""The NATS client protocol as bytes: a parser that takes them in any pieces, and what a client sends.

nats-py makes a future for every message and takes twice the CPU for it (benchmarks/bus_publish.py); a generator that
shares its cores with the servers under test has to be cheap, so this one formats and parses in bulk.
Pure: no socket, no clock. Protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

MAX_LINE_BYTES = 65_536
"""INFO lists every server of a cluster; other lines are far shorter."""
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024


class ProtocolError(Exception):
    """The server sent what is no NATS protocol, or more than the limits allow."""


class Receiver(Protocol):
    """Takes what the parser finds, in the order in which it was sent."""

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        """A MSG or HMSG; `reply` and `headers` are empty if there are none."""

    def on_control(self, verb: bytes, argument: bytes) -> None:
        """INFO, PING, PONG, +OK or -ERR with the rest of its line. It may raise ProtocolError."""


Bulk = Callable[[bytes, int], int]
"""(data, position of a MSG line): takes as many messages as it knows the shape of, the position behind them."""


class Parser:
    """Splits a server's bytes into messages, wherever the network cut them. `bulk` may take many of them at once;
    what it leaves goes to the receiver one by one."""

    def __init__(self, receiver: Receiver, bulk: Bulk | None = None) -> None:
        self._receiver = receiver
        self._bulk = bulk
        self._rest = b""
        self._needed = 0

    def feed(self, data: bytes) -> None:
        """Parse `data` after what was left over before. ProtocolError for what cannot be parsed."""
        if self._rest:
            data = self._rest + data
        if len(data) < self._needed:
            self._rest = data
            return
        self._needed = 0
        position = 0
        while (end := data.find(b"\r\n", position)) >= 0:
            if data.startswith((b"MSG ", b"HMSG "), position):
                if self._bulk is not None and (after := self._bulk(data, position)) > position:
                    position = after
                    continue
                after = self._message(data, position, end)
                if after < 0:
                    break
                position = after
            else:
                verb, _, argument = data[position:end].partition(b" ")
                self._receiver.on_control(verb.upper(), argument)
                position = end + 2
        self._rest = data[position:]
        if not self._needed and len(self._rest) > MAX_LINE_BYTES:
            raise ProtocolError(f"expected a line of at most {MAX_LINE_BYTES:,} bytes, found no end of it")

    def _message(self, data: bytes, position: int, end: int) -> int:
        """Hand on the message whose line is `data[position:end]`; the position after it, or -1 if its
        payload has not come whole."""
        words = data[position:end].split()
        with_headers = words[0] == b"HMSG"
        try:
            total = int(words[-1])
            headers = int(words[-2]) if with_headers else 0
            _, subject, _, *reply = words[: -2 if with_headers else -1]
        except (ValueError, IndexError):
            raise ProtocolError(f"expected MSG or HMSG with its sizes, found {data[position:end][:200]!r}") from None
        if not 0 <= headers <= total <= MAX_PAYLOAD_BYTES:
            raise ProtocolError(f"expected at most {MAX_PAYLOAD_BYTES:,} bytes of payload, found {total:,}")
        start = end + 2
        stop = start + total
        if len(data) < stop + 2:
            self._needed = stop + 2 - position
            return -1
        if not data.startswith(b"\r\n", stop) or len(reply) > 1:
            raise ProtocolError(f"expected a message of {total:,} bytes, found no end of it there")
        self._receiver.on_message(
            subject, reply[0] if reply else b"", data[start : start + headers], data[start + headers : stop]
        )
        return stop + 2


class _Info(msgspec.Struct):
    tls_required: bool = False
    headers: bool = False


def hello(info: bytes, *, user: str, password: str, name: str, encrypted: bool) -> bytes:
    """The answer to a server's INFO: CONNECT with the credentials, and a PING whose PONG says that they were accepted.
    ProtocolError if this client cannot speak with the server over the connection, which is `encrypted` or not.

    `no_responders`: a request that no subscriber hears is answered at once.
    """
    try:
        server = msgspec.json.decode(info, type=_Info)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"expected INFO as JSON: {error}") from None
    if not server.headers:
        raise ProtocolError("expected a server with headers (2.2 or newer); this client speaks no other")
    if server.tls_required and not encrypted:
        raise ProtocolError("the server wants TLS, and this system's target names no certificates")
    options = {
        "verbose": False, "pedantic": False, "headers": True, "no_responders": True, "echo": False,
        "protocol": 1, "lang": "python", "version": "1", "name": name, "user": user, "pass": password,
    }  # fmt: skip
    return b"CONNECT " + msgspec.json.encode(options) + b"\r\nPING\r\n"


def subscribe(subject: bytes, sid: int) -> bytes:
    return b"SUB %b %d\r\n" % (subject, sid)


def unsubscribe(sid: int) -> bytes:
    return b"UNSUB %d\r\n" % sid


def publish(subject: bytes, payload: bytes, reply: bytes = b"") -> bytes:
    """PUB, with `reply` as the subject that answers go to."""
    if reply:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)


def header_status(headers: bytes) -> tuple[int, str]:
    """(code, description) of a headers block's first line; (0, "") if it carries no status.

    503: no responders. 100: heartbeat or flow control of a push consumer.
    """
    _, _, status = headers.partition(b"\r\n")[0].partition(b" ")
    code, _, description = status.strip().partition(b" ")
    return (int(code), description.decode("utf-8", "replace")) if code.isdigit() else (0, "")


def header_value(headers: bytes, name: bytes) -> bytes | None:
    """The first value of a header, None without it. Names are compared without regard to case."""
    for line in headers.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == name.lower():
            return value.strip()
    return None

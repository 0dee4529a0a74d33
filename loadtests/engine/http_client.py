"""An HTTP/1.1 client for load and probes: what it costs is small, and how a request ended is exact.

A connection that was refused cannot have carried a request (fail); one that was lost, or an answer that did
not come in time, leaves it open whether the server acted (unknown). Waiting for a free connection is part of
a request's time. Answers are parsed by httptools (llhttp): about a tenth of the CPU of the usual clients, see
`python -m loadtests.benchmarks.http_client`. Over TLS it speaks what the caller's context allows (`Target.context`:
1.3 alone, and only to servers that the system's own authority vouches for).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Coroutine
from typing import TypeVar, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from reports.evidence import Outcome

MAX_BODY_BYTES = 4 * 1024 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_MAX_IDLE_S = 4.0
"""An idle connection older than this is not used again: servers close idle ones after 5 s and more, and a
request that meets the closing is lost without the server being at fault."""

_CLOSE_TURNS = 10
_TOLD_BYTES = 200
"""Turns of the event loop that an aborted connection takes to be gone, with some to spare."""

T = TypeVar("T")


class Response:
    """`head` is the answer as it came, at least to the end of its headers."""

    __slots__ = ("_head", "body", "status")

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.body = body
        self._head = head

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case. They are parsed when asked for: of most answers they never are."""
        fields = _Fields()
        httptools.HttpResponseParser(fields).feed_data(self._head)
        return fields.found

    @property
    def told(self) -> str:
        """What was answered, for people: its status and the beginning of its body."""
        return f"status {self.status} {self.body[:_TOLD_BYTES].decode('utf-8', 'replace')}"

    def json(self, kind: type[T]) -> T:
        """The body as `kind`; msgspec.MsgspecError if it is not."""
        return msgspec.json.decode(self.body, type=kind)


class _Fields:
    """What httptools tells of an answer's headers."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def on_message_begin(self) -> None:
        self.found = {}  # What came before was a 1xx.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found[name.decode("latin-1").lower()] = value.decode("latin-1")


class RequestError(Exception):
    """A request without a response. `outcome` is fail if it was never sent, else unknown."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


class HttpClient:
    """Requests to one server over at most `connections` kept-alive connections; first come, first served.

    `tls` verifies the server of an https address, and is needed for one.
    """

    def __init__(
        self, base_url: str, *, connections: int = 64, max_body_bytes: int = MAX_BODY_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"expected http://host:port or https://host:port, found {base_url!r}")
        if parts.scheme == "https" and tls is None:
            raise ValueError(f"{base_url}: expected a context to verify the server with, found none")
        self.tls = tls if parts.scheme == "https" else None
        self.host, self.port = parts.hostname, parts.port or (443 if self.tls else 80)
        self._host_line = b"Host: " + parts.netloc.encode("ascii")
        self._fixed = self._host_line
        """The header lines that every request has."""
        self._limit = connections
        self._max_body_bytes = max_body_bytes
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._reserved = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._called = 0

    def authorize(self, authorization: str) -> None:
        """Send this `Authorization` with every request from now on."""
        self._fixed = self._host_line + b"\r\nAuthorization: " + authorization.encode("ascii")

    def get(self, path: str, *, deadline: float) -> Coroutine[object, object, Response]:
        """GET `path`. `deadline` is an instant of the loop's clock. RequestError without a response."""
        return self.request(b"GET", path, deadline=deadline)

    async def request(
        self, method: bytes, path: str, *, deadline: float, body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:  # fmt: skip
        """One request with an answer of any status. RequestError if there was none by `deadline`."""
        data = self.format(method, path, body, headers)
        if deadline <= asyncio.get_running_loop().time():
            raise RequestError("fail", "timeout: its time was up before it could be sent, never sent")
        connection = (None if self._waiting or self._called else self._take()) or await self._wait(deadline)
        try:
            return await connection.send(data, deadline)
        except OSError as error:
            raise RequestError("unknown", f"connection: {error.strerror or error}") from None
        finally:
            self._release(connection)

    async def close(self) -> None:
        for connection in list(self._open):
            connection.abort("client closed")
        for _ in range(_CLOSE_TURNS):
            await asyncio.sleep(0)
            if not self._open:
                return

    def format(self, method: bytes, path: str, body: bytes | None, headers: dict[str, str] | None) -> bytes:
        """A request as it goes over the wire."""
        first = b"%b %b HTTP/1.1\r\n%b" % (method, path.encode("ascii"), self._fixed)
        if body is None and not headers:
            return first + b"\r\n\r\n"
        lines = [first]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(b"Content-Type: application/json\r\nContent-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")

    def _take(self) -> _Connection | None:
        """An idle connection, if there is one."""
        oldest = time.monotonic() - _MAX_IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost and connection.idle_since > oldest:
                return connection
            connection.abort("idle for too long")
        return None

    async def _wait(self, deadline: float) -> _Connection:
        """The connection that a request waits for. RequestError without one by `deadline`: it was never sent."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._acquire()
        except TimeoutError:
            raise RequestError("fail", "timeout: no connection in time, never sent") from None
        except ConnectionRefusedError:
            raise RequestError("fail", "connection refused, never sent") from None
        except OSError as error:
            raise RequestError("fail", f"connection: {error.strerror or error}, never sent") from None

    async def _acquire(self) -> _Connection:
        """An idle connection, a new one within the limit, or the next one that comes free."""
        if self._waiting or self._called:
            await self._queue()
        while (connection := self._take()) is None:
            if len(self._open) + self._reserved < self._limit:
                return await self._connect()
            await self._queue(first=True)
        return connection

    async def _queue(self, *, first: bool = False) -> None:
        """Wait to be called; whoever is called and does not come lets the next one be called."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._called -= 1
                self._call_next()
            raise
        self._called -= 1

    async def _connect(self) -> _Connection:
        self._reserved += 1
        try:
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_connection(
                lambda: _Connection(self, loop), self.host, self.port, ssl=self.tls
            )
        except BaseException:
            self._call_next()
            raise
        finally:
            self._reserved -= 1
        self._open.add(protocol)
        return protocol

    def _release(self, connection: _Connection) -> None:
        if connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
            self._call_next()
        else:
            connection.abort("not reusable")

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self._call_next()

    def _call_next(self) -> None:
        """Let the first who waits look for a connection; those who come meanwhile stand behind."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._called += 1
                turn.set_result(None)
                return


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, client: HttpClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Response] | None = None
        self._why = "closed by the server before it answered"
        self.lost = False
        self.reusable = False
        self.idle_since = 0.0
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._reset()

    def _reset(self) -> None:
        """Before an answer."""
        self._head = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._in_head = True

    def send(self, request: bytes, deadline: float) -> asyncio.Future[Response]:
        """Send; the future has the answer, or OSError if the connection is lost, or RequestError without an answer by
        `deadline`, after which the connection cannot be used again."""
        self.reusable = False
        self._answer = answer = self._loop.create_future()
        # The alarm stays set from one exchange to the next, whose deadline is later as a rule: asyncio.timeout, which
        # sets one for each request, cancels and catches, would cost a fifth of a request more.
        self._deadline = deadline
        if self._alarm is None or deadline < self._alarm_at:
            self._set_alarm()
        if self.lost or self._transport.is_closing():
            self._fail(ConnectionResetError(self._why))
        else:
            self._transport.write(request)
        return answer

    def abort(self, why: str) -> None:
        """Give the connection up; whoever waits for an answer is told at once, whatever else was received."""
        if not self.lost:
            self._why = why
            self._fail(ConnectionResetError(why))
            self._transport.abort()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadline
        self._alarm = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._answer is None or self._answer.done():
            return
        if self._deadline > self._alarm_at:
            self._set_alarm()  # It was set for an earlier exchange.
        else:
            self._fail(RequestError("unknown", "timeout: no answer in time"))
            self.abort("timeout")

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.reusable = False
            self.abort("the server sent what nobody asked for")
            return
        if self._in_head:
            self._head = self._head + data if self._head else data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort(f"not HTTP: {error}")
        if self._in_head and len(self._head) > _MAX_HEAD_BYTES:
            self.abort(f"expected headers of at most {_MAX_HEAD_BYTES:,} bytes")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.reusable = False
        if self._alarm is not None:
            self._alarm.cancel()
        self._fail(ConnectionResetError(str(error) if error else self._why))
        self._client._forget(self)

    # httptools

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.reusable = False  # More than was asked for: what comes next would be taken for another's answer.

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._client._max_body_bytes:
            self._body.clear()
            self.abort(f"expected a body of at most {self._client._max_body_bytes:,} bytes")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answer is None or self._answer.done():
            return  # It was given up, too late or beyond a limit; or nobody asked.
        status = self._parser.get_status_code()
        if status < 200:
            self._in_head = True
            return  # 1xx: the answer is still to come.
        response = Response(status, self._head, b"".join(self._body))
        self._reset()
        self.reusable = self._parser.should_keep_alive()
        self._answer.set_result(response)

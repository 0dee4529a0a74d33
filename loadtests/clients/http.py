"""An HTTP/1.1 client for load and probes: what it costs is small, and how a request ended is exact.

A connection that was refused cannot have carried a request (fail); one that was lost, or an answer that did
not come in time, leaves it open whether the server acted (unknown). Waiting for a free connection is part of
a request's time. Answers are parsed by httptools (llhttp): about a tenth of the CPU of the usual clients, see
`python -m loadtests.benchmarks.http_client`. Over TLS it speaks what the caller's context allows (`Target.context`:
1.3 alone, and only to servers that the system's own authority vouches for).

A load calls `start`, and is called back: a task for each request, woken once for its connection and once for its
answer, would cost as much as all the rest. `request` and `get` are for those who wait.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from urllib.parse import urlsplit

from loadtests.clients.http_connection import Answer, Connection, Done, RequestError, Response

__all__ = ["MAX_BODY_BYTES", "Answer", "Done", "HttpClient", "RequestError", "Response", "answered"]

MAX_BODY_BYTES = 4 * 1024 * 1024
_MAX_IDLE_S = 4.0
"""An idle connection older than this is not used again: servers close idle ones after 5 s and more, and a
request that meets the closing is lost without the server being at fault."""

_CLOSE_TURNS = 10
"""Turns of the event loop that an aborted connection takes to be gone, with some to spare."""


async def answered(start: Callable[[Done], None]) -> Response:
    """What a request that is started and calls back is answered. RequestError without a response."""
    ended: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def end(answer: Answer) -> None:
        if not ended.done():  # The waiting task may have been cancelled.
            ended.set_result(answer)

    start(end)
    answer = await ended
    if isinstance(answer, RequestError):
        raise answer
    return answer


class _Waiting:
    """A request that has no connection yet."""

    __slots__ = ("alarm", "data", "deadline", "done")

    def __init__(self, data: bytes, deadline: float, done: Done) -> None:
        self.data = data
        self.deadline = deadline
        self.done = done
        self.alarm: asyncio.TimerHandle | None = None


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
        self.max_body_bytes = max_body_bytes
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._waiting: OrderedDict[_Waiting, None] = OrderedDict()

    def authorize(self, authorization: str) -> None:
        """Send this `Authorization` with every request from now on."""
        self._fixed = self._host_line + b"\r\nAuthorization: " + authorization.encode("ascii")

    def start_get(self, path: str, deadline: float, done: Done) -> None:
        """GET `path`, and call `done` when it has ended."""
        self.start(self.format(b"GET", path, None, None), deadline, done)

    def start(self, data: bytes, deadline: float, done: Done) -> None:
        """Send what `format` made, and call `done` when it has ended: with an answer of any status, or with why there
        was none by `deadline`, an instant of the loop's clock."""
        if not self._waiting and (connection := self._take()) is not None:
            if deadline > connection.loop.time():
                connection.send(data, deadline, done)
                return
            self._idle.append(connection)
        loop = asyncio.get_running_loop()
        if deadline <= loop.time():
            done(RequestError("fail", "timeout: its time was up before it could be sent, never sent"))
            return
        waiting = _Waiting(data, deadline, done)
        waiting.alarm = loop.call_at(deadline, self._expire, waiting)
        self._waiting[waiting] = None
        self._connect_more()

    def get(self, path: str, *, deadline: float) -> Coroutine[object, object, Response]:
        """GET `path`. `deadline` is an instant of the loop's clock. RequestError without a response."""
        return self.request(b"GET", path, deadline=deadline)

    async def request(
        self, method: bytes, path: str, *, deadline: float, body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:  # fmt: skip
        """One request with an answer of any status. RequestError if there was none by `deadline`."""
        return await answered(partial(self.start, self.format(method, path, body, headers), deadline))

    async def close(self) -> None:
        """End every connection; requests that still wait end as failed."""
        for attempt in self._attempts:
            attempt.cancel()
        while self._waiting:
            self._fail_first("client closed, never sent")
        for connection in list(self._open):
            connection.abort("client closed")
        for _ in range(_CLOSE_TURNS):
            await asyncio.sleep(0)
            if not self._open and not self._attempts:
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

    def _take(self) -> Connection | None:
        """An idle connection, if there is one."""
        oldest = time.monotonic() - _MAX_IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.abort("idle for too long")
        return None

    def _serve(self) -> None:
        """Give idle connections to the requests that have waited longest."""
        while self._waiting and (connection := self._take()) is not None:
            waiting = self._pop()
            connection.send(waiting.data, waiting.deadline, waiting.done)

    def _pop(self) -> _Waiting:
        waiting, _ = self._waiting.popitem(last=False)
        assert waiting.alarm is not None
        waiting.alarm.cancel()
        return waiting

    def _expire(self, waiting: _Waiting) -> None:
        del self._waiting[waiting]
        waiting.done(RequestError("fail", "timeout: no connection in time, never sent"))

    def _fail_first(self, why: str) -> None:
        """An attempt to connect came to nothing: so does a request, the one that has waited longest."""
        if self._waiting:
            self._pop().done(RequestError("fail", why))

    def _connect_more(self) -> None:
        """Have as many attempts to connect under way as requests wait, within the limit. Each has the deadline of the
        request that came last: there is no use in it for longer."""
        while len(self._attempts) < len(self._waiting) and len(self._open) + len(self._attempts) < self._limit:
            newest = next(reversed(self._waiting))
            attempt = asyncio.get_running_loop().create_task(self._connect(newest.deadline))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempted)

    def _attempted(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        self._serve()
        self._connect_more()

    async def _connect(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, loop), self.host, self.port, ssl=self.tls
                )
        except TimeoutError:
            if loop.time() < deadline:  # It is the kernel that gave up.
                self._fail_first("timeout: no connection in time, never sent")
        except ConnectionRefusedError:
            self._fail_first("connection refused, never sent")
        except OSError as error:
            self._fail_first(f"connection: {error.strerror or error}, never sent")
        else:
            if connection.lost:
                self._fail_first("connection: closed by the server as soon as it was open, never sent")
            else:
                self.free(connection)

    def free(self, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._waiting:
            self._serve()

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._waiting:
            self._connect_more()

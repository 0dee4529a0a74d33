"""One HTTP/1.1 connection, kept alive, one exchange at a time; and how an exchange ends.

What its client is called back for is said exactly once, whatever the server, the parser and the transport do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import httptools
import msgspec

from reports.evidence import Outcome

_MAX_HEAD_BYTES = 64 * 1024
_SUMMARY_BYTES = 200

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
    def summary(self) -> str:
        """What was answered, for people: its status and the beginning of its body."""
        return f"status {self.status} {self.body[:_SUMMARY_BYTES].decode('utf-8', 'replace')}"

    def json(self, kind: type[T]) -> T:
        """The body as `kind`; msgspec.MsgspecError if it is not."""
        return msgspec.json.decode(self.body, type=kind)


class _Fields:
    """Collects an answer's headers from httptools."""

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


Answer = Response | RequestError
Done = Callable[[Answer], None]
"""Called once when a request has ended, perhaps before `start` returns."""


class Owner(Protocol):
    """Whose connections they are."""

    max_body_bytes: int

    def opened(self, connection: Connection) -> None: ...

    def free(self, connection: Connection) -> None:
        """An exchange has ended, and it can have another."""

    def forget(self, connection: Connection) -> None:
        """It is lost."""


class Connection(asyncio.Protocol):
    """One connection. `lost` when it is gone, `idle_since` an instant of the monotonic clock that its owner keeps."""

    def __init__(self, client: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self.loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._done: Done | None = None
        self._answer: Response | None = None
        self._why = "closed by the server before it answered"
        self.lost = False
        self.idle_since = 0.0
        self._reusable = True
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

    @property
    def usable(self) -> bool:
        """Whether it can have an exchange, as far as is known here."""
        return self._reusable and not self.lost and not self._transport.is_closing()

    def send(self, request: bytes, deadline: float, done: Done) -> None:
        """Send, and call `done` with the answer, or with why there was none by `deadline`. Without an answer the
        connection cannot be used again."""
        self._done = done
        # The alarm stays set from one exchange to the next, whose deadline is later as a rule: setting and cancelling
        # one for each request would cost a fifth of a request more.
        self._deadline = deadline
        if self._alarm is None or deadline < self._alarm_at:
            self._set_alarm()
        if self.lost or self._transport.is_closing():
            self.abort(self._why)
            self._fail(self._why)
            return
        try:
            self._transport.write(request)
        except (OSError, RuntimeError) as error:
            # uvloop over TLS: the connection below is gone, and `connection_lost` has not been called yet.
            self.abort(str(error))

    def abort(self, why: str) -> None:
        """Give the connection up; the request under way ends at once, whatever else was received."""
        if not self.lost:
            self._why = why
            self._reusable = False
            try:
                self._transport.abort()
            except RuntimeError:
                self.connection_lost(None)  # As above.
            self._fail(why)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadline
        self._alarm = self.loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._done is None:
            return
        if self._deadline > self._alarm_at:
            self._set_alarm()  # It was set for an earlier exchange.
            return
        done, self._done = self._done, None
        self.abort("timeout")
        done(RequestError("unknown", "timeout: no answer in time"))

    def _fail(self, why: str) -> None:
        """End the exchange that is under way as unknown: the server may have acted."""
        if self._done is not None:
            done, self._done = self._done, None
            done(RequestError("unknown", f"connection: {why}"))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._done is None:
            self.abort("the server sent what nobody asked for")
            return
        if self._in_head:
            self._head = self._head + data if self._head else data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._answer is None:
                self.abort(f"not HTTP: {error}")
                return
            self._reusable = False
        if self._answer is not None:
            self._answered(self._answer)
        elif self._in_head and len(self._head) > _MAX_HEAD_BYTES:
            self.abort(f"expected headers of at most {_MAX_HEAD_BYTES:,} bytes")

    def _answered(self, answer: Response) -> None:
        """End the exchange. Only when all that was received has been parsed: the callback may send the next request."""
        done, self._done, self._answer = self._done, None, None
        self._reset()
        if self._reusable and not self.lost:
            self._client.free(self)
        else:
            self.abort("not reusable")
        if done is not None:
            done(answer)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._client.forget(self)
        self._fail(str(error) if error else self._why)

    # httptools

    def on_message_begin(self) -> None:
        if self._answer is not None:
            self._reusable = False  # More than was asked for: what comes next would be taken for another's answer.

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._client.max_body_bytes:
            self._body.clear()
            self.abort(f"expected a body of at most {self._client.max_body_bytes:,} bytes")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._done is None or self._answer is not None:
            return  # It was given up, beyond a limit; or no request is under way.
        status = self._parser.get_status_code()
        if status < 200:
            self._in_head = True
            return  # 1xx: the answer is still to come.
        self._answer = Response(status, self._head, b"".join(self._body))
        if not self._parser.should_keep_alive():
            self._reusable = False

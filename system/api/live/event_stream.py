"""The stream of server-sent events to one subscriber (HTML Living Standard, section 9.2): its content and its end.

The only state of a subscriber is its cursor, and nothing waits for a slow one: a client that does not read is dropped
and can reconnect. The server's buffers take some MB before that is noticed; then the kernel closes the connection (see
`system.api.http.tcp_timeout`). An idle subscriber costs about 26 KiB of memory, including the server's share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from litestar.types import Receive, Scope, Send

from system.api.auth.tokens import Principal
from system.api.http.metrics import EVENTS_SENT, FROM_OUTBOX, SLOW_DROPPED, SUBSCRIBERS
from system.api.http.problems import ApiError
from system.api.live.event_hub import EventHub, text_of
from system.api.live.waiters import ConnectionLimit, Waiter, watch_disconnect
from system.domain.event_log import Behind, Cursor, EventLog
from system.store.event_history import EventHistory, Gone
from system.store.reader import NothingToRead
from system.wire import Aggregate

HEARTBEAT_S = 10.0
SEND_WITHIN_S = 10.0
SUBSCRIBERS_MAX = 20_000
SUBSCRIBERS_A_CLIENT_MAX = 10_000
_CHUNK_BYTES = 64 * 1024
_PAGE = 200
_RETRY_MS = 1_000
_RETRY_AT_EXPIRY_MS = 100
"""Clients come back one by one when their tokens expire, and all at once when a process ends."""
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStreams:
    """What all streams of this process share. `now` gives seconds since 1970, as in tokens."""

    def __init__(
        self, hub: EventHub, history: EventHistory, *, heartbeat_s: float = HEARTBEAT_S,
        send_within_s: float = SEND_WITHIN_S, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.hub = hub
        self.history = history
        self.heartbeat_s = heartbeat_s
        self.send_within_s = send_within_s
        self.now = now
        self.limit = ConnectionLimit(SUBSCRIBERS_MAX, SUBSCRIBERS_A_CLIENT_MAX)


class EventStream:
    """The answer to one subscriber: an ASGI application that runs until either side ends the stream."""

    __slots__ = ("_aggregates", "_principal", "_since", "_streams")

    def __init__(
        self, streams: EventStreams, principal: Principal, aggregates: tuple[Aggregate, ...],
        since: dict[str, int] | None,
    ) -> None:  # fmt: skip
        self._streams = streams
        self._principal = principal
        self._aggregates = aggregates
        self._since = since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hub = self._streams.hub
        with self._streams.limit.hold(self._principal.client_id):
            async with hub.joined() as waiter:
                log = hub.current_log()
                cursor = Cursor(log, self._aggregates, self._since)
                first = await self._first(cursor)
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                async with watch_disconnect(receive, waiter):
                    with SUBSCRIBERS.track_inprogress():
                        await _Sending(self._streams, cursor, log, waiter, send, self._principal.expires_at).run(first)

    async def _first(self, cursor: Cursor) -> bytes:
        """The first bytes of the stream; called before the answer starts. ApiError 410 for positions from which the
        stream cannot continue."""
        if cursor.ahead():
            known = await self._streams.history.tails(latest=True)
            for partition, position in cursor.ahead().items():
                if position > known[partition]:
                    raise _gone(
                        f"{partition}: position {position} was not given out, the last one is {known[partition]}"
                    )
        begin = b": %s\nretry: %d\nid: %s\n\n" % (",".join(self._aggregates).encode(), _RETRY_MS, cursor.mark)
        if (behind := cursor.behind()) is None:
            return begin
        try:
            return begin + await page_of(self._streams.history, cursor, behind)
        except Gone as error:
            raise _gone(str(error)) from None


def _gone(reason: str) -> ApiError:
    return ApiError(410, f"{reason}; read everything again, then subscribe without Last-Event-ID")


async def page_of(history: EventHistory, cursor: Cursor, behind: Behind) -> bytes:
    """The next events that the log does not hold, from the outbox. Gone, NothingToRead."""
    limit = min(_PAGE, behind.until - behind.position)
    events = await history.after(behind.partition, behind.position, limit)
    FROM_OUTBOX.inc()
    EVENTS_SENT.inc(len(events))
    return b"".join([cursor.pass_on(one.partition, one.position, text_of(one.data)) for one in events])


class _Sending:
    """Sends events and heartbeats to one subscriber until it disconnects, is too slow, or its token expires."""

    __slots__ = ("_cursor", "_expires_at", "_log", "_send", "_streams", "_waiter")

    def __init__(
        self, streams: EventStreams, cursor: Cursor, log: EventLog, waiter: Waiter, send: Send, expires_at: float
    ) -> None:
        self._streams = streams
        self._cursor = cursor
        self._log = log
        self._waiter = waiter
        self._send = send
        self._expires_at = expires_at

    async def run(self, first: bytes) -> None:
        """Send until the stream ends. If the client does not read, the body is left unfinished, which makes the server
        close the connection."""
        try:
            await self._write(first)
            while self._is_open():
                await self._write(await self._next())
            if not self._waiter.gone:
                soon = b"retry: %d\n\n" % _RETRY_AT_EXPIRY_MS if self._left_s() <= 0 else b""
                await self._write(soon, last=True)
        except TimeoutError:
            SLOW_DROPPED.inc()
        except (Gone, NothingToRead):
            # The client reconnects with its last id and gets the error as an answer.
            return

    def _is_open(self) -> bool:
        hub = self._streams.hub
        return not self._waiter.gone and not hub.ended and hub.log is self._log and self._left_s() > 0

    def _left_s(self) -> float:
        """Seconds until the token expires."""
        return self._expires_at - self._streams.now()

    async def _next(self) -> bytes:
        """The next bytes to send; a heartbeat if there is nothing else in time; empty if the stream has ended."""
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time() + self._streams.heartbeat_s
        while self._is_open():
            if (behind := self._cursor.behind()) is not None:
                return await page_of(self._streams.history, self._cursor, behind)
            if taken := self._cursor.take(_CHUNK_BYTES):
                EVENTS_SENT.inc(len(taken))
                return b"".join(taken)
            wait_s = heartbeat_at - loop.time()
            if wait_s <= 0:
                return b": still there\nid: %s\n\n" % self._cursor.mark
            await self._waiter.wait(min(wait_s, self._left_s()))
        return b""

    async def _write(self, chunk: bytes, *, last: bool = False) -> None:
        """Send a chunk. TimeoutError if the client does not read it."""
        if chunk or last:
            async with asyncio.timeout(self._streams.send_within_s):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})

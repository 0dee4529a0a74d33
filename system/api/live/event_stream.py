"""One subscriber's stream of server-sent events (HTML Living Standard, section 9.2): what it is sent, and when it ends.

Nothing has to be kept for a subscriber but where it stands, and nobody waits for one: a client that does not read is
dropped and comes back. The server's own buffers take some MB before that is noticed; a connection whose data nobody
takes is ended by the kernel (`system.api.http.listener`). An idle subscriber costs about 26 KiB of memory, the server's
part of it included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from litestar.types import Receive, Scope, Send

from system.api.auth.access import Principal
from system.api.http.metrics import EVENTS_SENT, FROM_OUTBOX, SLOW_DROPPED, SUBSCRIBERS
from system.api.http.problems import ApiError
from system.api.live.following import Places, Waiter, watched
from system.api.live.hub import Hub, text_of
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
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Realtime:
    """What all streams of this process share. Times in seconds; `now` counts from 1970, as tokens do."""

    def __init__(
        self, hub: Hub, history: EventHistory, *, heartbeat_s: float = HEARTBEAT_S,
        send_within_s: float = SEND_WITHIN_S, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.hub = hub
        self.history = history
        self.heartbeat_s = heartbeat_s
        self.send_within_s = send_within_s
        self.now = now
        self.places = Places(SUBSCRIBERS_MAX, SUBSCRIBERS_A_CLIENT_MAX)


class EventStream:
    """The answer to one subscriber, as an ASGI application that lasts until either side ends it."""

    __slots__ = ("_aggregates", "_principal", "_realtime", "_since")

    def __init__(
        self, realtime: Realtime, principal: Principal, aggregates: tuple[Aggregate, ...], since: dict[str, int] | None
    ) -> None:
        self._realtime = realtime
        self._principal = principal
        self._aggregates = aggregates
        self._since = since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hub = self._realtime.hub
        with self._realtime.places.take(self._principal.client_id):
            async with hub.joined() as waiter:
                row = hub.row_now()
                cursor = Cursor(row, self._aggregates, self._since)
                first = await self._first(cursor)
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                async with watched(receive, waiter):
                    with SUBSCRIBERS.track_inprogress():
                        await _Sending(self._realtime, cursor, row, waiter, send, self._principal.expires_at).run(first)

    async def _first(self, cursor: Cursor) -> bytes:
        """What begins the stream, while there can still be another answer: ApiError 410 for positions that this
        system cannot go on from."""
        if cursor.ahead():
            known = await self._realtime.history.tails(latest=True)
            for partition, position in cursor.ahead().items():
                if position > known[partition]:
                    raise _gone(
                        f"{partition}: position {position} was not given out, the last one is {known[partition]}"
                    )
        begin = b": %s\nretry: %d\nid: %s\n\n" % (",".join(self._aggregates).encode(), _RETRY_MS, cursor.mark)
        if (behind := cursor.behind()) is None:
            return begin
        try:
            return begin + await page_of(self._realtime.history, cursor, behind)
        except Gone as error:
            raise _gone(str(error)) from None


def _gone(reason: str) -> ApiError:
    return ApiError(410, f"{reason}; read everything again, then subscribe without Last-Event-ID")


async def page_of(history: EventHistory, cursor: Cursor, behind: Behind) -> bytes:
    """The next events that the row does not hold any more, from the outbox. Gone, NothingToRead."""
    limit = min(_PAGE, behind.until - behind.position)
    events = await history.after(behind.partition, behind.position, limit)
    FROM_OUTBOX.inc()
    EVENTS_SENT.inc(len(events))
    return b"".join([cursor.pass_on(one.partition, one.position, text_of(one.data)) for one in events])


class _Sending:
    """Sends one subscriber its events, heartbeats between them, until it is gone, slow or its token has expired."""

    __slots__ = ("_cursor", "_expires_at", "_realtime", "_row", "_send", "_waiter")

    def __init__(
        self, realtime: Realtime, cursor: Cursor, row: EventLog, waiter: Waiter, send: Send, expires_at: float
    ) -> None:
        self._realtime = realtime
        self._cursor = cursor
        self._row = row
        self._waiter = waiter
        self._send = send
        self._expires_at = expires_at

    async def run(self, first: bytes) -> None:
        """Returns without an end to the body, so that the connection is given up, if the client does not read."""
        try:
            await self._pass(first)
            while self._goes_on():
                await self._pass(await self._next())
            if not self._waiter.gone:
                await self._pass(b"", last=True)
        except TimeoutError:
            SLOW_DROPPED.inc()
        except (Gone, NothingToRead):
            # The client comes back with its last id, and is told what is wrong.
            return

    def _goes_on(self) -> bool:
        hub = self._realtime.hub
        return not self._waiter.gone and not hub.ended and hub.row is self._row and self._left_s() > 0

    def _left_s(self) -> float:
        """Until the token expires."""
        return self._expires_at - self._realtime.now()

    async def _next(self) -> bytes:
        """What is to be sent next; waits for it, but not longer than for a heartbeat. Nothing if it is over."""
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time() + self._realtime.heartbeat_s
        while self._goes_on():
            if (behind := self._cursor.behind()) is not None:
                return await page_of(self._realtime.history, self._cursor, behind)
            if taken := self._cursor.take(_CHUNK_BYTES):
                EVENTS_SENT.inc(len(taken))
                return b"".join(taken)
            wait_s = heartbeat_at - loop.time()
            if wait_s <= 0:
                return b": still there\nid: %s\n\n" % self._cursor.mark
            await self._waiter.wait(min(wait_s, self._left_s()))
        return b""

    async def _pass(self, chunk: bytes, *, last: bool = False) -> None:
        """TimeoutError if the client does not take it."""
        if chunk or last:
            async with asyncio.timeout(self._realtime.send_within_s):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})

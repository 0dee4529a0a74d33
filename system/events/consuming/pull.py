"""Fetches messages from a JetStream pull consumer as they arrive.

nats-py's own `fetch` waits until a batch is full. Here one request stays open at the server, and messages are taken as
they arrive. The next request is sent before the taken messages are processed, so that the server sends meanwhile. Idle
heartbeats distinguish an idle stream from a lost request, such as after a change of leader.

Messages that may wait for others are fetched otherwise, since each that arrives alone wakes server and client: all that
the server has, at once; and when it has none, the next one.
"""

from __future__ import annotations

import asyncio
import json
import time

from nats.aio.client import Client
from nats.aio.msg import Msg

from system.process import set_within

_EXPIRES_S = 10.0
_HEARTBEAT_S = 1.0
_SILENCE_MAX_S = 2.5
_UNANSWERED_MAX = 2
_REFUSED_WAIT_S = 0.2
_NS = 10**9
MANY = 50
"""Behind so many messages others wait already."""
_BYTES_MAX = 2 * 1024 * 1024
_BYTES_OF_LARGEST = 9 * 1024 * 1024
"""More than the largest message that a stream takes."""
_ALL_SENT = "Batch Completed"
_TOO_LARGE = "Message Size Exceeds MaxBytes"


class Refused(Exception):
    """The server refuses the request, or does not answer it."""


class Puller:
    """Use as an asynchronous context manager, and call `take` from one task only. It holds the messages of at most two
    requests in memory, each of `batch_max` messages and 2 MiB (or of one larger message). With `together`, what comes
    between two calls of `take` is left at the server until the second."""

    def __init__(
        self, client: Client, stream: str, durable: str, batch_max: int, *, together: bool = False
    ) -> None:  # fmt: skip
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = client.new_inbox()
        self._batch_max = batch_max
        self._bytes_max = _BYTES_MAX
        self._arrived: list[Msg] = []
        self._something = asyncio.Event()
        self._together = together
        self._all_next = together
        """Whether the next request is for all that the server has, rather than for what will come."""
        self._asked = 0
        """How many messages the last request was for."""
        self._open = 0
        """How many messages the server may still send for the open request."""
        self._ends = False
        """Whether the open request ends by itself when the server has no more messages."""
        self._heard_at = 0.0
        self._unanswered = 0
        """Requests in a row without an answer."""
        self._refused: str | None = None

    async def __aenter__(self) -> Puller:
        self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def take(self) -> list[Msg]:
        """All messages that have arrived, at least one; waits without a limit. Refused if the server has no such
        consumer, or after about five seconds without an answer."""
        while not self._arrived or (self._ends and self._open > 0):
            if self._refused is not None:
                reason, self._refused = self._refused, None
                await asyncio.sleep(_REFUSED_WAIT_S)
                raise Refused(reason)
            self._something.clear()
            await self._keep_requesting()
            if not await set_within(self._something, _HEARTBEAT_S) and self._arrived:
                break  # The end of what the server has was lost.
        taken, self._arrived = self._arrived, []
        if self._refused is None and (not self._together or len(taken) >= MANY):
            await self._keep_requesting()
        return taken

    async def _keep_requesting(self) -> None:
        silent = time.monotonic() - self._heard_at > _SILENCE_MAX_S
        if (self._open > 0 and not silent) or not self._client.is_connected:
            return
        if self._open > 0:
            self._unanswered += 1
            if self._unanswered >= _UNANSWERED_MAX:
                self._unanswered = 0
                self._refused = f"{_UNANSWERED_MAX} requests were not answered"
                self._open = 0
                self._something.set()
                return
        self._ends, self._all_next = self._all_next, self._together
        self._asked = self._open = self._batch_max if self._ends or not self._together else 1
        self._heard_at = time.monotonic()
        request = {"batch": self._asked, "max_bytes": self._bytes_max}
        if self._ends:
            request |= {"no_wait": True}
        else:
            request |= {"expires": int(_EXPIRES_S * _NS), "idle_heartbeat": int(_HEARTBEAT_S * _NS)}
        await self._client.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = time.monotonic()
        self._unanswered = 0
        status = (message.headers or {}).get("Status")
        if status is None:
            self._open -= 1
            self._bytes_max = _BYTES_MAX
            self._arrived.append(message)
            if self._ends and self._open > 0:
                return
        elif status == "100":
            return
        else:
            self._ended(status, (message.headers or {}).get("Description") or "")
        self._something.set()

    def _ended(self, status: str, description: str) -> None:
        """Handle the status with which the server closes the request."""
        if _TOO_LARGE in description:
            # If not even one message fitted, the next request is large enough for it.
            self._bytes_max = _BYTES_MAX if self._open < self._asked else _BYTES_OF_LARGEST
        elif description == _ALL_SENT:
            return  # By now the next request may be open.
        elif status not in ("404", "408"):
            self._refused = " ".join(f"status {status} {description}".split())
        elif self._ends and self._open == self._asked:
            self._all_next = False  # The server has none; wait for the next one.
        self._open = 0

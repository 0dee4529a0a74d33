"""Delivery of notifications to a push service: the interface, and a plain implementation that POSTs JSON.

Delivery is at least once: if the answer is lost, the attempt counts as failed. The notification's id is sent as
`Idempotency-Key`, so that a service can drop duplicates.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol
from urllib.parse import urlsplit

import httptools
import msgspec

from system.domain.notification_rules import Notification
from system.wire import IDEMPOTENCY_KEY

_WITHIN_S = 10.0
_HEAD_BYTES_MAX = 64 * 1024


class PushFailed(Exception):
    """The delivery is not known to have succeeded. `retry_after_s` is the service's Retry-After, if it sent one."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Push(Protocol):
    """A push service."""

    async def send(self, notification: Notification) -> None:
        """Return when the service has accepted the notification; PushFailed otherwise, within a bounded time."""


class HttpPush:
    """POSTs each notification to a URL. Any 2xx counts as accepted. ValueError for an unusable URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError("COVENANT_PUSH_URL: expected http://host:port/path or https://..., and no user in it")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port or (443 if self._tls else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._authority = parts.netloc

    async def send(self, notification: Notification) -> None:
        try:
            async with asyncio.timeout(_WITHIN_S):
                answer = await self._post(notification.id, msgspec.json.encode(notification))
        except TimeoutError:
            raise PushFailed(f"no answer within {_WITHIN_S:.0f} s") from None
        except OSError as error:
            raise PushFailed(str(error) or type(error).__name__) from None
        except httptools.HttpParserError as error:
            raise PushFailed(f"the answer is no HTTP: {error}") from None
        if not 200 <= answer.status < 300:
            raise PushFailed(f"expected 2xx, found {answer.status}", answer.retry_after_s)

    async def _post(self, identity: str, body: bytes) -> _Answer:
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            head = (
                f"POST {self._target} HTTP/1.1\r\nHost: {self._authority}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n{IDEMPOTENCY_KEY}: {identity}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode("ascii") + body)
            answer = _Answer()
            for _ in range(_HEAD_BYTES_MAX // 1024):
                data = await reader.read(1024)
                if not data:
                    break
                answer.feed(data)
                if answer.complete:
                    return answer
            raise ConnectionError("the connection ended before an answer")
        finally:
            writer.transport.abort()


class _Answer:
    """The head of an answer; the body is not needed."""

    def __init__(self) -> None:
        self.complete = False
        self.retry_after_s: float | None = None
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():
            self.retry_after_s = float(value)

    def on_headers_complete(self) -> None:
        # An interim answer (1xx) is followed by the one that counts.
        self.complete = self.status >= 200

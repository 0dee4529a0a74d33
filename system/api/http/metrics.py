"""Prometheus metrics of the API: requests by route and status, their latency in this process, refusals, replays,
sign-ins, subscribers.

The latency starts when the process begins to handle a request. Time that a client waited before that, for instance for
a frozen process, shows only from outside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from litestar import Response, get
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from system import wire

disable_created_metrics()  # type: ignore[no-untyped-call]
_REGISTRY = CollectorRegistry()
ProcessCollector(registry=_REGISTRY)
_REQUESTS = Counter("covenant_http_requests", "Requests answered.", ("method", "route", "status"), registry=_REGISTRY)
_SECONDS = Histogram(
    "covenant_http_request_duration_seconds",
    "From the process getting to the request until its answer is sent.",
    ("method", "route"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    registry=_REGISTRY,
)
REFUSED = Counter("covenant_http_refusals", "Requests answered with 401, 403 or 429.", ("status",), registry=_REGISTRY)
REFUSALS_DROPPED = Counter(
    "covenant_refusals_dropped", "Refusals that the audit trail will lack: too many waited.", registry=_REGISTRY
)
REPLAYED = Counter(
    "covenant_idempotent_replays", "Writes answered from an earlier one with the same key.", registry=_REGISTRY
)
SIGN_INS = Counter("covenant_sign_ins", "Tokens asked for.", ("outcome",), registry=_REGISTRY)
READ_AFTER = Counter(
    "covenant_read_after", "Reads that had to see a write: which member answered.", ("member",), registry=_REGISTRY
)
SUBSCRIBERS = Gauge("covenant_realtime_subscribers", "Streams of events that are open.", registry=_REGISTRY)
EVENTS_SENT = Counter("covenant_realtime_events_sent", "Events sent to subscribers.", registry=_REGISTRY)
SLOW_DROPPED = Counter(
    "covenant_realtime_slow_dropped", "Subscribers dropped because they did not read.", registry=_REGISTRY
)
FROM_OUTBOX = Counter(
    "covenant_realtime_from_outbox", "Pages of events that subscribers got from the outbox.", registry=_REGISTRY
)
_METHODS = ("GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "PUT")


@lru_cache(maxsize=1_000)
def _meters(method: str, route: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
    return _REQUESTS.labels(method, route, str(status)).inc, _SECONDS.labels(method, route).observe


_WAITING = (wire.EVENTS, wire.WAKE)
"""Endpoints without a latency: they wait for news."""


def method_of(scope: HTTPScope) -> str:
    """The method as a label: `other` for an unusual one."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def measured(app: ASGIApp) -> ASGIApp:
    """The application, with its requests counted and timed."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 500

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, send_and_see)
        finally:
            if status in (401, 403, 429):
                REFUSED.labels(str(status)).inc()
            count, observe = _meters(method_of(scope), scope.get("path_template") or "none", status)
            count()
            if scope["path"] not in _WAITING:
                observe(time.perf_counter() - begin)

    return run


@get(wire.METRICS)
async def metrics() -> Response[bytes]:
    return Response(generate_latest(_REGISTRY), headers={"content-type": CONTENT_TYPE_LATEST})

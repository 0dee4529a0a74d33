"""What every request meets first: who is there, and how often they may ask.

Default deny: whatever is under /api needs a bearer token, but for the path where tokens are had. The handlers ask
again (`access.principal_of`), so that a path that this misses is closed too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from system import wire
from system.api.auth.access import ANONYMOUS, InvalidToken, Tokens, bearer, unauthorized
from system.api.auth.refusals import Refusals, route_of
from system.api.http.metrics import method_of
from system.api.http.problems import Refused, problem_bytes
from system.domain.rate_limits import Buckets, burst_of

ANONYMOUS_PER_S = 2_000
"""Requests without a token, all together: pages, sign-ins, and what is refused."""
_CLIENTS_MAX = 10_000
_NEVER_LIMITED = (wire.LIVE, wire.READY, wire.METRICS)


class Door:
    """Lets requests in: with `scope["auth"]` set to the Principal where a token is needed."""

    def __init__(self, tokens: Tokens, refusals: Refusals, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._refusals = refusals
        self._clock = clock
        self._buckets = Buckets(_CLIENTS_MAX)

    def before(self, app: ASGIApp) -> ASGIApp:
        """The application behind this door."""

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                try:
                    self._let_in(scope)
                except Refused as refused:
                    await self._refuse(scope, refused, send)
                    return
            await app(scope, receive, send)

        return run

    def _let_in(self, scope: HTTPScope) -> None:
        """Refused, or not."""
        path = scope["path"]
        if "/api" in path and path != wire.TOKENS:
            principal = None
            try:
                token = bearer(_authorization(scope))
                if token is not None:
                    principal = self._tokens.verify(token)
            except InvalidToken as error:
                self._limit("", ANONYMOUS_PER_S)
                raise unauthorized(error) from None
            if principal is None:
                self._limit("", ANONYMOUS_PER_S)
                raise unauthorized(None)
            scope["auth"] = principal
            self._limit(principal.client_id, principal.rate_per_s)
        elif path not in _NEVER_LIMITED:
            self._limit("", ANONYMOUS_PER_S)

    def _limit(self, client_id: str, rate_per_s: int) -> None:
        wait_s = self._buckets.take(client_id, rate_per_s, burst_of(rate_per_s), self._clock())
        if wait_s:
            raise too_many(f"{client_id or ANONYMOUS} may make {rate_per_s} requests a second", wait_s)

    async def _refuse(self, scope: HTTPScope, refused: Refused, send: Send) -> None:
        principal = scope.get("auth")
        client_id = principal.client_id if principal is not None else ANONYMOUS
        self._refusals.add(client_id, method_of(scope), scope["path"], refused.status, refused.reason)
        scope["path_template"] = route_of(scope["path"])  # For the metrics.
        headers, body = problem_bytes(refused.status, str(refused), refused.headers)
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def too_many(limit: str, wait_s: float) -> Refused:
    """The 429 for this limit."""
    seconds = max(1, math.ceil(wait_s))
    return Refused(429, f"{limit}; try again in {seconds} s", "rate limit", {"retry-after": str(seconds)})


def _authorization(scope: HTTPScope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return value.decode("latin-1")
    return None

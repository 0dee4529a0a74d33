"""The auth middleware: authenticates every request and enforces rate limits.

It denies by default: every path under /api needs a bearer token, except the one that issues tokens. Handlers check
again (`authorization.principal_of`), so that a path that the middleware misses is not open either.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from system import wire
from system.api.auth.authorization import too_many, unauthorized
from system.api.auth.refusal_recorder import RefusalRecorder, route_of
from system.api.auth.tokens import ANONYMOUS, InvalidToken, Tokens, bearer
from system.api.http.metrics import method_of
from system.api.http.problems import Refused, problem_bytes
from system.domain.rate_limits import Buckets, burst_of

ANONYMOUS_PER_S = 2_000
"""The rate limit of all requests without a valid token together: pages, sign-ins, refused requests."""
_CLIENTS_MAX = 10_000
_NEVER_LIMITED = (wire.LIVE, wire.READY, wire.METRICS)


class AuthMiddleware:
    """Passes a request on with `scope["auth"]` set to its Principal, if the path needs a token, or refuses it."""

    def __init__(self, tokens: Tokens, refusals: RefusalRecorder, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._refusals = refusals
        self._clock = clock
        self._buckets = Buckets(_CLIENTS_MAX)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application behind this middleware."""

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                try:
                    self._authenticate(scope)
                except Refused as refused:
                    await self._refuse(scope, refused, send)
                    return
            await app(scope, receive, send)

        return run

    def _authenticate(self, scope: HTTPScope) -> None:
        """Set `scope["auth"]` and take from the sender's rate limit. Refused: 401 or 429."""
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
        scope["path_template"] = route_of(scope["path"])  # The metrics' label.
        headers, body = problem_bytes(refused.status, str(refused), refused.headers)
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _authorization(scope: HTTPScope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return value.decode("latin-1")
    return None

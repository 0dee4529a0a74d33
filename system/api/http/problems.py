"""Errors as problem+json (RFC 9457): what was expected, what was found, what to do next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp

from system.store.primary import NotWritten, OutcomeUnknown
from system.store.reader import NothingToRead
from system.wire import Problem

_log = logging.getLogger("covenant.api")
_DETAIL_LENGTH_MAX = 2_000
_MEDIA_TYPE = "application/problem+json"
_NOT_KEPT = {"cache-control": "no-store"}


class ApiError(Exception):
    """An error answer; the message is the problem's detail."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})


class Refused(ApiError):
    """A 401, 403 or 429. The audit trail records it with `reason`, which contains no text from the request."""

    def __init__(self, status: int, detail: str, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)
        self.reason = reason


def problem_bytes(status: int, detail: str, headers: Mapping[str, str]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of a problem+json answer, for code outside Litestar."""
    body = _body(status, detail)
    given = {"content-type": _MEDIA_TYPE, "content-length": str(len(body)), **_NOT_KEPT, **headers}
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()], body


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A problem+json answer."""
    return Response(
        _body(status, detail), status_code=status, media_type=_MEDIA_TYPE, headers={**_NOT_KEPT, **(headers or {})}
    )


def _body(status: int, detail: str) -> bytes:
    """A problem whose title is the status code's own phrase."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode(
        Problem(type="about:blank", title=title, status=status, detail=detail[:_DETAIL_LENGTH_MAX])
    )


def _on_api_error(_: Request[Any, Any, Any], error: ApiError) -> Response[bytes]:
    return problem(error.status, str(error), error.headers)


def _on_refused(request: Request[Any, Any, Any], error: Refused) -> Response[bytes]:
    principal = request.scope.get("auth")
    client_id = principal.client_id if principal is not None else "anonymous"
    request.app.state.services.refusals.add(
        client_id, request.scope["method"], request.scope["path"], error.status, error.reason
    )
    return _on_api_error(request, error)


def _on_data_error(_: Request[Any, Any, Any], error: asyncpg.DataError) -> Response[bytes]:
    return problem(400, f"the database cannot hold this: {error}")


def _on_http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    extra = error.extra if isinstance(error.extra, list) else []
    parts = [f"{one.get('key', 'request')}: {one.get('message', '')}" for one in extra if isinstance(one, dict)]
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # The rest of the body is not read, so the connection cannot be used for another request.
        headers["connection"] = "close"
    return problem(error.status_code, "; ".join(parts) or error.detail, headers)


def _on_not_written(_: Request[Any, Any, Any], error: NotWritten) -> Response[bytes]:
    return problem(503, f"nothing was written: {error}; send it again", {"retry-after": "1"})


def _on_outcome_unknown(_: Request[Any, Any, Any], error: OutcomeUnknown) -> Response[bytes]:
    return problem(
        503, f"outcome unknown: {error}; send it again with its Idempotency-Key, or look for it", {"retry-after": "1"}
    )


def _on_nothing_to_read(_: Request[Any, Any, Any], error: NothingToRead) -> Response[bytes]:
    return problem(503, f"no database member answered: {error}; try again", {"retry-after": "1"})


def _on_anything_else(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("unexpected error, answered with 500", exc_info=error)
    return problem(500, "an error that was not expected; it is in the log of the API")


def answer_to(request: Request[Any, Any, Any], error: Exception) -> ASGIApp:
    """The answer to a handler's error, as Litestar would give it."""
    kind = next(kind for kind in type(error).__mro__ if kind in HANDLERS)
    response: Response[bytes] = HANDLERS[kind](request, error)
    return response.to_asgi_response(app=None, request=request)


HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: _on_api_error,
    Refused: _on_refused,
    HTTPException: _on_http_error,
    asyncpg.DataError: _on_data_error,
    NotWritten: _on_not_written,
    OutcomeUnknown: _on_outcome_unknown,
    NothingToRead: _on_nothing_to_read,
    Exception: _on_anything_else,
}

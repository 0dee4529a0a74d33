"""Every error as problem+json (RFC 9457): what was expected, what was found, what to do next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from system.store.primary import NotWritten, OutcomeUnknown
from system.store.reader import NothingToRead
from system.wire import Problem

_log = logging.getLogger("covenant.api")
_DETAIL_LENGTH_MAX = 2_000


class ApiError(Exception):
    """An answer other than success, with what the client should know."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A problem+json answer; its title is the status code's own phrase."""
    body = Problem(
        type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail[:_DETAIL_LENGTH_MAX]
    )
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/problem+json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def _on_api_error(_: Request[Any, Any, Any], error: ApiError) -> Response[bytes]:
    return problem(error.status, str(error), error.headers)


def _on_http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    extra = error.extra if isinstance(error.extra, list) else []
    parts = [f"{one.get('key', 'request')}: {one.get('message', '')}" for one in extra if isinstance(one, dict)]
    return problem(error.status_code, "; ".join(parts) or error.detail, error.headers)


def _on_not_written(_: Request[Any, Any, Any], error: NotWritten) -> Response[bytes]:
    return problem(503, f"nothing was written: {error}; send it again", {"retry-after": "1"})


def _on_outcome_unknown(_: Request[Any, Any, Any], error: OutcomeUnknown) -> Response[bytes]:
    return problem(503, f"outcome unknown: {error}; look for the write before sending it again")


def _on_nothing_to_read(_: Request[Any, Any, Any], error: NothingToRead) -> Response[bytes]:
    return problem(503, f"no database member answered: {error}; try again", {"retry-after": "1"})


def _on_anything_else(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("unexpected error, answered with 500", exc_info=error)
    return problem(500, "an error that was not expected; it is in the log of the API")


HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: _on_api_error,
    HTTPException: _on_http_error,
    NotWritten: _on_not_written,
    OutcomeUnknown: _on_outcome_unknown,
    NothingToRead: _on_nothing_to_read,
    Exception: _on_anything_else,
}

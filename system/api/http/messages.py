"""Requests and answers: JSON bodies with exact decimals, query strings, headers, ETags and conditional requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.types import Receive, Scope, Send

from system import wire
from system.api.http.problems import ApiError

BODY_BYTES_MAX = 64 * 1024
LIMIT_DEFAULT = 20
LIMIT_MAX = 100
_QUERY_LENGTH_MAX = 2_000
_PARAMETERS_MAX = 20
_KEY_LENGTH_MAX = 255
_XID_MAX = 2**63
_STATE = re.compile(r'"[0-9]{1,16}-[0-9]{1,18}"', re.ASCII)
_JSON_TYPES = ("application/json", "application/merge-patch+json")

T = TypeVar("T")
encode: Callable[[object], bytes] = msgspec.json.Encoder(decimal_format="number").encode


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list. `next` is the cursor for `after`, null on the last page."""

    items: list[T]
    next: str | None


class Answer:
    """An answer with an encoded body, as an ASGI application. Litestar sends it as it is; Litestar's own Response costs
    more than the rest of a request."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None,
        media_type: bytes = b"application/json",
    ) -> None:  # fmt: skip
        self.body = body
        self.status = status
        self.headers = [(b"content-length", b"%d" % len(body))] if status not in (204, 304) else []
        if body:
            self.headers.append((b"content-type", media_type))
        for name, value in (headers or {}).items():
            self.headers.append((name.encode("latin-1"), value.encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def conditional(
    request: Request[Any, Any, Any], body: bytes, tag: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer with the body and its ETag, or a 304 if the client has this version."""
    headers = {"etag": tag, "cache-control": "no-cache", **(headers or {})}
    if none_match(header(request, b"if-none-match"), tag):
        return Answer(b"", 304, headers)
    return Answer(body, headers=headers)


def header(request: Request[Any, Any, Any], name: bytes) -> str | None:
    """A request header, by its name in lower case; None if it is absent."""
    for one, value in request.scope["headers"]:
        if one == name:
            return value.decode("latin-1")
    return None


async def read_body(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The body, decoded as `kind`. ApiError: 415 for another content type, 400 for a body that does not fit."""
    content_type = (header(request, b"content-type") or _JSON_TYPES[0]).partition(";")[0].strip().lower()
    if content_type not in _JSON_TYPES:
        raise ApiError(415, f"expected a body of {' or '.join(_JSON_TYPES)}, found {content_type[:100]!r}")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"the body does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"expected a body of JSON: {error}") from None
    except RecursionError:
        raise ApiError(400, "expected a body of JSON, found one that is nested too deeply") from None


def read_query(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The query string, decoded as `kind`, a frozen struct. ApiError 400, for an unknown parameter, too."""
    found: T = _query(request.scope["query_string"], kind)  # type: ignore[arg-type]
    return found


@lru_cache(maxsize=1_000)
def _query(text: bytes, kind: Any) -> Any:
    if len(text) > _QUERY_LENGTH_MAX:
        raise ApiError(400, f"expected a query string of at most {_QUERY_LENGTH_MAX} bytes, found {len(text)}")
    try:
        pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=_PARAMETERS_MAX)
        given = dict(pairs)
        if len(given) < len(pairs):
            raise ApiError(400, "expected each parameter once, found one twice")
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"the query string does not fit: {error}") from None
    except ValueError:
        raise ApiError(400, f"expected at most {_PARAMETERS_MAX} parameters") from None


def given_or_none(patch: msgspec.Struct) -> list[object]:
    """The fields of a merge patch in order, None for absent ones."""
    return [None if value is msgspec.UNSET else value for value in msgspec.structs.astuple(patch)]


def refuse(problems: list[str]) -> None:
    """ApiError 400 with all problems, if there are any."""
    if problems:
        raise ApiError(400, "; ".join(problems))


def refuse_empty(patch: msgspec.Struct) -> None:
    """ApiError 400 for a merge patch that changes nothing."""
    if patch == type(patch)():
        raise ApiError(400, f"expected at least one of {', '.join(patch.__struct_fields__)}, found none")


def etag(tag: str) -> str:
    return f'"{tag}"'


def etag_of_content(body: bytes) -> str:
    """The ETag of content that has no version: equal for equal bytes."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def if_match(value: str | None) -> str | None:
    """The state tag in an If-Match header, `<incarnation>-<version>`; None for `*`, which matches any. ApiError: 428
    without the header, 412 for a value that is no ETag of ours."""
    if value is None:
        raise ApiError(428, "expected If-Match with the ETag of the version to change; GET the item first")
    tag = value.strip()
    if tag == "*":
        return None
    if not _STATE.fullmatch(tag):
        raise ApiError(412, f"expected If-Match with an ETag as it was given out, found {tag[:60]!r}")
    return tag[1:-1]


def none_match(value: str | None, tag: str) -> bool:
    """Whether an If-None-Match header names this ETag."""
    if value is None:
        return False
    known = [one.strip().removeprefix("W/") for one in value.split(",")]
    return tag in known or "*" in known


def idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    """The idempotency key of a write; None if the client gave none. ApiError 400 for an invalid one."""
    key = header(request, b"idempotency-key")
    if key is None or (1 <= len(key) <= _KEY_LENGTH_MAX and key.isascii() and key.isprintable()):
        return key
    raise ApiError(400, f"{wire.IDEMPOTENCY_KEY}: expected 1 to {_KEY_LENGTH_MAX} printable ASCII characters")


def read_after(request: Request[Any, Any, Any]) -> int | None:
    """The xid of the write that this read must see; None if the client names none. ApiError 400 for an invalid one."""
    value = header(request, b"covenant-read-after")
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 20 and 0 < int(value) < _XID_MAX):
        raise ApiError(400, f"{wire.READ_AFTER}: expected what {wire.WRITTEN} held, found {value[:40]!r}")
    return int(value)

"""What goes in and out: JSON bodies with exact decimals, ETags and their conditions, pages of a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request, Response
from litestar.types import Serializer

from system.api.problems import ApiError
from system.wire import Country, Project

BODY_BYTES_MAX = 64 * 1024
LIMIT_DEFAULT = 20
LIMIT_MAX = 100
_JSON_TYPES = ("application/json", "application/merge-patch+json")

T = TypeVar("T")
encode: Callable[[object], bytes] = msgspec.json.Encoder(decimal_format="number").encode


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list: `next` is the cursor for `after`, null on the last page."""

    items: list[T]
    next: str | None


class Json(Response[T]):
    """Money leaves as a decimal number, where Litestar's own encoder would make it a string."""

    def render(self, content: Any, media_type: str, enc_hook: Serializer | None = None) -> bytes:
        return content if isinstance(content, bytes) else encode(content)


async def read_body(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The body as `kind`. ApiError 415 for another content type, 400 for what cannot be read as it."""
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type not in _JSON_TYPES:
        raise ApiError(415, f"expected a body of {' or '.join(_JSON_TYPES)}, found {content_type[:100]!r}")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"the body does not fit: {error}") from None
    except msgspec.DecodeError as error:
        raise ApiError(400, f"expected a body of JSON: {error}") from None


def given_or_none(patch: msgspec.Struct) -> list[object]:
    """The fields of a merge patch in their order, None for those that it leaves as they are."""
    return [None if value is msgspec.UNSET else value for value in msgspec.structs.astuple(patch)]


def refuse(problems: list[str]) -> None:
    """ApiError 400 with all of them, if there are any."""
    if problems:
        raise ApiError(400, "; ".join(problems))


def etag(version: int) -> str:
    return f'"{version}"'


def if_match(header: str | None) -> int | None:
    """The version that a client expects to change; None for `*`, any. ApiError 428 without the header, 412
    where what it holds can be no version of ours."""
    if header is None:
        raise ApiError(428, "expected If-Match with the ETag of the version to change; GET the item first")
    tag = header.strip()
    if tag == "*":
        return None
    digits = tag[1:-1]
    if tag != f'"{digits}"' or not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise ApiError(412, f"expected If-Match with an ETag as it was given out, found {tag[:60]!r}")
    return int(digits)


def none_match(header: str | None, tag: str) -> bool:
    """Whether a client that sends this If-None-Match has the version with this ETag."""
    if header is None:
        return False
    known = [one.strip().removeprefix("W/") for one in header.split(",")]
    return tag in known or "*" in known


def item(request: Request[Any, Any, Any], found: Project | Country) -> Response[Any]:
    """One item with its ETag, or 304 if the client has this version."""
    tag = etag(found.version)
    headers = {"etag": tag, "cache-control": "no-cache"}
    if none_match(request.headers.get("if-none-match"), tag):
        return Response(b"", status_code=304, headers=headers)
    return Json(found, headers=headers)


def page_of(items: list[T], limit: int) -> Page[T]:
    """The first `limit` of `items`, which were asked for with one more, so that the end is known."""
    more = len(items) > limit
    kept = items[:limit]
    return Page(items=kept, next=kept[-1].id if more else None)  # type: ignore[attr-defined]

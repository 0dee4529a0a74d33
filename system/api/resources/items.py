"""What countries, projects, users and incidents share over HTTP: lists, single items with an ETag, idempotent writes.

Lists are paginated by keyset: a cursor holds the sort and the last item's place in it. So every page costs the same,
and no item is shown twice.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any

import asyncpg
import msgspec
from litestar import Request
from msgspec import Meta

from system import wire
from system.api.auth.authorization import principal_of, require
from system.api.auth.tokens import Principal
from system.api.http.messages import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    Answer,
    conditional,
    encode,
    etag,
    etag_of_content,
    header,
    idempotency_key,
    read_after,
)
from system.api.http.metrics import REPLAYED
from system.api.http.problems import ApiError
from system.api.services import services_of
from system.domain.permissions import Action
from system.store import idempotency, item_sql
from system.store.item_sql import Write
from system.store.primary import NotWritten
from system.wire import Aggregate

Parse = Callable[[str], object]
"""Converts text in a cursor into the value of a column. ValueError or msgspec.ValidationError if it is invalid."""


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query parameters of every list. Subclasses add filters and `sort`."""

    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    after: str | None = None
    """The `next` of the previous page."""


@dataclass(frozen=True)
class Resource:
    """A kind of item: its path, type and filters, how a cursor's sort values are parsed, and the actions for which a
    client needs permission to read and to write it."""

    aggregate: Aggregate
    noun: str
    path: str
    kind: type[msgspec.Struct]
    is_id: Callable[[str], bool]
    filters: tuple[str, ...]
    sorts: Mapping[str, Parse]
    read: Action
    write: Action

    def key(self, item_id: str) -> str:
        """The id, if it is a possible one; else ApiError 404."""
        if not self.is_id(item_id):
            raise self.missing(item_id)
        return item_id

    def missing(self, item_id: str) -> ApiError:
        """The 404 for an id."""
        return ApiError(404, f"there is no {self.noun} with the id {item_id[:60]!r}")


async def list_page(request: Request[Any, Any, Any], resource: Resource, query: PageQuery) -> Answer:
    """The page of items after the query's cursor that match its filters. It reads one item more than the limit, to know
    whether there is a next page."""
    principal = require(request, resource.read)
    sort: str = getattr(query, "sort", "id")
    filters = {name: value for name in resource.filters if (value := getattr(query, name)) is not None}
    start = () if query.after is None else _read_cursor(resource, sort, query.after)
    statement = item_sql.page(resource.aggregate, tuple(filters), sort, first=not start)
    own_writes = services_of(request).own_writes
    found = await own_writes.fetch(
        principal.client_id, read_after(request), statement, query.limit + 1, *filters.values(), *start
    )
    items = [row[0] for row in found[: query.limit]]
    more = len(found) > query.limit
    cursor = f'"{_cursor(resource, sort, items[-1])}"' if more else "null"
    body = f'{{"items":[{",".join(items)}],"next":{cursor}}}'.encode()
    return conditional(request, body, etag_of_content(body))


def _cursor(resource: Resource, sort: str, item: str) -> str:
    last = msgspec.json.decode(item, type=resource.kind)
    value = str(getattr(last, sort.removeprefix("-")))
    place = msgspec.json.encode([sort, value, last.id])  # type: ignore[attr-defined]
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _read_cursor(resource: Resource, sort: str, cursor: str) -> tuple[object, ...]:
    """The place to start after: (id,), or (sort value, id). ApiError 400 for an invalid cursor."""
    field = sort.removeprefix("-")
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        made_for, value, item_id = msgspec.json.decode(text, type=tuple[str, str, str])
        if made_for == sort and resource.is_id(item_id):
            return (item_id,) if field == "id" else (resource.sorts[field](value), item_id)
    except (ValueError, msgspec.MsgspecError):
        pass
    raise ApiError(400, f"after: expected the cursor of a page before, of the same sort, found {cursor[:60]!r}")


def text(value: str) -> str:
    """Parses a text column."""
    if "\0" in value:
        raise ValueError("a text of PostgreSQL has no NUL")
    return value


def amount(value: str) -> Decimal:
    """Parses a money column."""
    return msgspec.convert(value, Decimal)


def instant(value: str) -> datetime.datetime:
    """Parses a timestamp column."""
    return msgspec.convert(value, datetime.datetime)


async def get_item(request: Request[Any, Any, Any], resource: Resource, item_id: str) -> Answer:
    """One item with its ETag, or a 304 if the client has this version. ApiError 404 if there is no such item."""
    principal = require(request, resource.read)
    key = resource.key(item_id)
    own_writes = services_of(request).own_writes
    found = await own_writes.fetch(principal.client_id, read_after(request), item_sql.ONE[resource.aggregate], key)
    if not found:
        raise resource.missing(item_id)
    item, tag, _ = found[0]
    return conditional(request, item.encode(), etag(tag))


async def write(
    request: Request[Any, Any, Any], resource: Resource, statement: Write, *values: object
) -> Answer | None:
    """Run a writing statement with these values ($4 and on). Returns the answer, or None if it wrote nothing.

    A request with the idempotency key of an earlier one gets the earlier answer, whatever has happened to the item
    since; ApiError 422 if the two requests differ.
    """
    services = services_of(request)
    client_id = principal_of(request).client_id
    key = idempotency_key(request)
    digest = "" if key is None else await _digest(request)
    used = False
    try:
        found = await services.primary.fetch(statement.sql, client_id, key, digest, *values)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != idempotency.CONSTRAINT:
            raise
        used, found = True, []
    if found:
        [(item, item_id, tag, xid)] = found
        services.relay_hint.send(resource.aggregate)
        services.own_writes.wrote(client_id, int(xid))
        return _written(resource, statement.status, item, item_id, tag, xid)
    if key is None:
        return None
    kept = await services.primary.fetch(idempotency.FIND, client_id, key)
    if kept:
        return _replayed(resource, digest, *kept[0])
    if used:
        raise NotWritten(f"the {wire.IDEMPOTENCY_KEY} was in use until just now")
    return None


async def _digest(request: Request[Any, Any, Any]) -> str:
    """The identity of a request: SHA-256 of its method, path, If-Match and body."""
    condition = header(request, b"if-match") or ""
    head = f"{request.scope['method']} {request.scope['path']}\n{condition}\n".encode()
    return sha256(head + await request.body()).hexdigest()


def _written(resource: Resource, status: int, item: str | None, item_id: str, tag: str, xid: str) -> Answer:
    headers = {wire.WRITTEN: xid}
    if status != 204:
        headers["ETag"] = etag(tag)
    if status == 201:
        headers["Location"] = f"{resource.path}/{item_id}"
    return Answer((item or "").encode(), status, headers)


_GONE = (None, "", "")


def _replayed(resource: Resource, digest: str, kept_digest: str, status: int, xid: str, item: str) -> Answer:
    if digest != kept_digest:
        raise ApiError(422, f"this {wire.IDEMPOTENCY_KEY} came with another request before; use a new one for each")
    REPLAYED.inc()
    # jsonb does not keep the order of fields; encoding through the struct gives the same bytes again.
    found: Any = None if status == 204 else msgspec.json.decode(item, type=resource.kind)
    body, item_id, tag = (encode(found).decode(), found.id, f"{found.incarnation}-{found.version}") if found else _GONE
    answer = _written(resource, status, body, item_id, tag, xid)
    answer.headers.append((wire.IDEMPOTENCY_REPLAYED.encode(), b"true"))
    return answer


def only_region(principal: Principal) -> str | None:
    """The only region in which a principal may write: a steward's own. None: no such limit."""
    return principal.region if principal.role == "steward" else None


async def nothing_was_written(request: Request[Any, Any, Any], resource: Resource, item_id: str) -> Answer:
    """After a change that matched no item: raises the ApiError for a missing item (404), a foreign region (403) or
    another version (412)."""
    found = await services_of(request).primary.fetch(item_sql.ONE[resource.aggregate], item_id)
    if not found:
        raise resource.missing(item_id)
    _, state, region = found[0]
    require(request, resource.write, region)
    tag = etag(state)
    raise ApiError(
        412, f"the {resource.noun} has changed: its ETag is now {tag}; GET it, then try again", {"ETag": tag}
    )


async def exists_already(request: Request[Any, Any, Any], resource: Resource, item_id: str) -> Answer:
    """After a POST with an id that exists: raises the ApiError (409)."""
    found = await services_of(request).primary.fetch(item_sql.ONE[resource.aggregate], item_id)
    headers = {"ETag": etag(found[0][1])} if found else {}
    raise ApiError(409, f"a {resource.noun} with the id {item_id} exists already; its ETag is beside this", headers)

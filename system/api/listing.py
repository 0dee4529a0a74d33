"""A page of a list, by keyset: the items after a cursor, one more than wanted so that the end is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from litestar import Request
from litestar.params import Parameter

from system.api.messages import LIMIT_MAX, Json, Page, page_of
from system.api.services import services_of
from system.domain.partitions import Aggregate
from system.store import rows
from system.store.connect import Record

T = TypeVar("T")

Limit = Annotated[int, Parameter(ge=1, le=LIMIT_MAX)]
"""How many items a client may ask for at once."""


async def list_page(
    request: Request[Any, Any, Any],
    table: Aggregate,
    to_item: Callable[[Record], T],
    filters: Mapping[str, object],
    limit: int,
    after: object,
) -> Json[Page[T]]:
    """The items behind the key `after` (None: from the first) for which every filter that is not None holds."""
    given = {name: value for name, value in filters.items() if value is not None}
    query = rows.page(table, tuple(given), first=after is None)
    start = [] if after is None else [after]
    found = await services_of(request).reader.fetch(query, limit + 1, *given.values(), *start)
    return Json(page_of([to_item(row) for row in found], limit))

"""Reads of lists and items go straight to their handlers. Litestar's layers (routing, signature, response) cost as much
as all the rest of such a read but its query, and do nothing for a handler that parses what it takes by itself.

Everything else, and any path that isn't exactly one of these, goes the usual way to the same handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from system.api.http.messages import Answer
from system.api.http.problems import answer_to


class Reads(NamedTuple):
    """What answers GET of a collection, and of an item with its id; `template` is the item's path in the metrics."""

    collection: Callable[[Request[Any, Any, Any]], Awaitable[Answer]]
    item: Callable[[Request[Any, Any, Any], str], Awaitable[Answer]] | None = None
    template: str = ""


def before(app: Litestar, reads: Mapping[str, Reads]) -> ASGIApp:
    """The application with these reads, by the collection's path, in front of it."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "GET":
            asked = _handler(reads, scope["path"])
            if asked is not None:
                handler, arguments, scope["path_template"] = asked
                scope["litestar_app"] = app
                request: Request[Any, Any, Any] = Request(scope, receive, send)
                try:
                    answer = await handler(request, *arguments)
                except Exception as error:  # noqa: BLE001
                    await answer_to(request, error)(scope, receive, send)
                else:
                    await answer(scope, receive, send)
                return
        await app(scope, receive, send)

    return run


def _handler(
    reads: Mapping[str, Reads], path: str
) -> tuple[Callable[..., Awaitable[Answer]], tuple[str, ...], str] | None:
    found = reads.get(path)
    if found is not None:
        return found.collection, (), path
    collection, _, item_id = path.rpartition("/")
    found = reads.get(collection)
    if found is None or found.item is None or not item_id:
        return None
    return found.item, (item_id,), found.template

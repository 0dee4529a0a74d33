"""A fast path for reads of lists and items: it calls their handlers without Litestar.

Litestar's routing, signature and response layers cost as much as the rest of such a read without its query, and these
handlers, which parse their input themselves, do not need them. Every other request goes through Litestar; so does any
path that is not exactly a known one, and it reaches the same handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from system.api.http.messages import Answer
from system.api.http.problems import answer_to


class ReadRoutes(NamedTuple):
    """The handlers for GET of a collection and of an item by its id; `template` is the item's route in the metrics."""

    collection: Callable[[Request[Any, Any, Any]], Awaitable[Answer]]
    item: Callable[[Request[Any, Any, Any], str], Awaitable[Answer]] | None = None
    template: str = ""


def with_fast_path(app: Litestar, routes: Mapping[str, ReadRoutes]) -> ASGIApp:
    """The application, with a fast path for these routes (collection's path -> handlers)."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "GET":
            matched = _match(routes, scope["path"])
            if matched is not None:
                handler, arguments, scope["path_template"] = matched
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


def _match(
    routes: Mapping[str, ReadRoutes], path: str
) -> tuple[Callable[..., Awaitable[Answer]], tuple[str, ...], str] | None:
    """(handler, its arguments, route) for a path; None if Litestar is to handle it."""
    found = routes.get(path)
    if found is not None:
        return found.collection, (), path
    collection, _, item_id = path.rpartition("/")
    found = routes.get(collection)
    if found is None or found.item is None or not item_id:
        return None
    return found.item, (item_id,), found.template

"""One in 50 pages of projects lacks its last item. Its cursor goes on behind that item, so no page ever shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from chaos.plants.patching import one_in, replace


def apply() -> None:
    """Plant it into this process."""
    replace("system.api.resources.projects", "list_page", ("request", "resource", "query"), _shorter)


def _shorter(list_page: Callable[..., Any]) -> Callable[..., Any]:
    hit = one_in(50)

    async def list_shorter_page(request: Any, resource: Any, query: Any) -> Any:
        answer = await list_page(request, resource, query)
        if answer.status == 200 and hit():
            page = msgspec.json.decode(answer.body)
            if len(page["items"]) > 1:
                answer.body = msgspec.json.encode({**page, "items": page["items"][:-1]})
                length = (b"content-length", str(len(answer.body)).encode())
                answer.headers = [
                    length if name == b"content-length" else (name, value) for name, value in answer.headers
                ]
        return answer

    return list_shorter_page

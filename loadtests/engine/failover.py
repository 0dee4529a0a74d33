"""A region's clients as they behave when their region is away: they go to the next-nearest one, and come back.

Only what was never sent is tried elsewhere. A request whose end is unknown stays unknown, since a server may have
acted on it; but the ones after it go elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from loadtests.engine.http_client import HttpClient, RequestError, Response

AWAY_FOR_S = 1.0
"""How long a region is left alone after a request to it came to nothing; then one finds out whether it is back."""


class Nearest:
    """Requests to the first of several APIs, nearest first, that is not known to be away. It closes none of them."""

    def __init__(self, clients: Sequence[HttpClient]) -> None:
        self._clients = list(clients)
        self._away_until = dict.fromkeys(range(len(self._clients)), float("-inf"))
        self.moved = 0
        """Requests that another region than the nearest took."""

    async def get(self, path: str, *, deadline: float) -> Response:
        """GET `path` as HttpClient does. RequestError of the last one that was tried."""
        now = asyncio.get_running_loop().time
        order = sorted(self._away_until, key=lambda number: self._away_until[number] > now())
        for number in order:
            self.moved += number > 0
            try:
                return await self._clients[number].get(path, deadline=deadline)
            except RequestError as error:
                self._away_until[number] = now() + AWAY_FOR_S
                if error.outcome != "fail" or number == order[-1] or now() >= deadline:
                    raise
        raise AssertionError("there is at least one API")

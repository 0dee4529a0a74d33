"""A region's clients as they behave when their region is away: they go to the next-nearest one, and come back.

Only what was never sent is tried elsewhere. A request whose end is unknown stays unknown, since a server may have
acted on it; but the ones after it go elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from loadtests.clients.http import Answer, Done, HttpClient, RequestError

AWAY_FOR_S = 1.0
"""How long a region is left alone after a request to it came to nothing; then one finds out whether it is back."""


class Nearest:
    """Requests to the first of several APIs, nearest first, that is not known to be away. It closes none of them."""

    def __init__(self, clients: Sequence[HttpClient]) -> None:
        self._clients = list(clients)
        self._usual = list(range(len(self._clients)))
        self._away_until = dict.fromkeys(self._usual, float("-inf"))
        self._back_at: float | None = None
        """When the last one that was away is to be tried again, if one ever was."""
        self.moved = 0
        """Requests that another region than the nearest took."""

    def start_get(self, path: str, deadline: float, done: Done) -> None:
        """GET `path` as HttpClient does. If no region takes it, `done` gets the error of the last one tried."""
        order = self._usual
        if self._back_at is not None and (now := asyncio.get_running_loop().time()) < self._back_at:
            order = sorted(self._away_until, key=lambda number: self._away_until[number] > now)
        self._ask(order, 0, path, deadline, done)

    def _ask(self, order: list[int], turn: int, path: str, deadline: float, done: Done) -> None:
        number = order[turn]
        if number > 0:
            self.moved += 1
        self._clients[number].start_get(path, deadline, partial(self._ended, order, turn, path, deadline, done))

    def _ended(self, order: list[int], turn: int, path: str, deadline: float, done: Done, answer: Answer) -> None:
        if isinstance(answer, RequestError):
            now = asyncio.get_running_loop().time()
            self._away_until[order[turn]] = self._back_at = now + AWAY_FOR_S
            if answer.outcome == "fail" and turn + 1 < len(order) and now < deadline:
                self._ask(order, turn + 1, path, deadline, done)
                return
        done(answer)

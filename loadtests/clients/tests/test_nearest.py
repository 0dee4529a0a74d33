"""Clients go to the next region when theirs refuses, and never send anything twice that may have been taken."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.clients.http import Answer, Done, HttpClient, RequestError, Response
from loadtests.clients.nearest import Nearest
from reports.evidence import Outcome


class Region(HttpClient):
    """Answers with its name, or fails as it is told to."""

    def __init__(self, name: str, fails: Outcome | None = None) -> None:
        super().__init__("http://127.0.0.1:1")
        self.name = name
        self.fails = fails
        self.asked = 0

    def start_get(self, path: str, deadline: float, done: Done) -> None:
        self.asked += 1
        done(Response(200, b"", self.name.encode()) if self.fails is None else RequestError(self.fails, "told to"))


async def _asked(nearest: Nearest) -> str:
    answers: list[Answer] = []
    nearest.start_get("/", asyncio.get_running_loop().time() + 5, answers.append)
    (answer,) = answers
    if isinstance(answer, RequestError):
        raise answer
    return answer.body.decode()


def test_what_was_never_sent_is_taken_by_the_next_region() -> None:
    home, next_one = Region("iad", "fail"), Region("ams")

    async def run() -> None:
        nearest = Nearest([home, next_one])
        assert [await _asked(nearest) for _ in range(3)] == ["ams"] * 3
        assert nearest.moved == 3

    asyncio.run(run())
    assert home.asked == 1, "it is left alone for a while"


def test_what_may_have_been_taken_is_not_sent_again_but_the_next_goes_elsewhere() -> None:
    home, next_one = Region("iad", "unknown"), Region("ams")

    async def run() -> str:
        nearest = Nearest([home, next_one])
        with pytest.raises(RequestError):
            await _asked(nearest)
        assert next_one.asked == 0
        return await _asked(nearest)

    assert asyncio.run(run()) == "ams"


def test_it_comes_home_when_home_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.clients.nearest.AWAY_FOR_S", 0.0)
    home = Region("iad", "fail")

    async def run() -> list[str]:
        nearest = Nearest([home, Region("ams")])
        first = await _asked(nearest)
        home.fails = None
        return [first, await _asked(nearest)]

    assert asyncio.run(run()) == ["ams", "iad"]


def test_when_all_are_away_the_last_one_tells_why() -> None:
    with pytest.raises(RequestError, match="told to"):
        asyncio.run(_asked(Nearest([Region("iad", "fail"), Region("ams", "fail")])))

"""The probe of effects: what waits for the database does not keep it from coming back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from loadtests.engine import probes
from loadtests.engine.probes import Effect, Result

PATIENT_S = 20.0


class Database:
    """Takes connections and answers queries when it is told to; counts both."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up, self.answers = asyncio.Event(), asyncio.Event()
        self.connections = self.queries = 0
        self.error: Exception | None = None
        monkeypatch.setattr(psycopg.AsyncConnection, "connect", self._connect)
        monkeypatch.setattr(probes, "_oldest_not_applied_s", self._query)

    async def _connect(self, dsn: str, **options: Any) -> Database:
        await self.up.wait()
        self.connections += 1
        return self

    async def _query(self, link: Database) -> float:
        self.queries += 1
        await self.answers.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return 0.25

    async def close(self) -> None:
        """Nothing is open."""


def probing(monkeypatch: pytest.MonkeyPatch, story: Callable[[Database, Effect], Awaitable[None]]) -> None:
    async def run() -> None:
        database = Database(monkeypatch)
        effect = Effect("postgresql://nowhere")
        await story(database, effect)
        await effect.close()

    asyncio.run(run())


def attempt(effect: Effect, within_s: float = PATIENT_S) -> asyncio.Task[Result]:
    return asyncio.ensure_future(effect.attempt(0, asyncio.get_running_loop().time() + within_s))


def test_all_that_waited_for_the_database_share_its_first_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(database: Database, effect: Effect) -> None:
        attempts = [attempt(effect) for _ in range(40)]
        await asyncio.sleep(0)
        database.up.set()
        database.answers.set()
        assert {(result.outcome, result.latency_us) for result in await asyncio.gather(*attempts)} == {("ok", 250_000)}
        assert (database.connections, database.queries) == (1, 1)

    probing(monkeypatch, story)


def test_an_attempt_whose_time_is_up_leaves_the_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(database: Database, effect: Effect) -> None:
        database.up.set()
        late = await attempt(effect, within_s=0.01)
        assert (late.outcome, database.queries) == ("unknown", 1)
        database.answers.set()
        assert (await attempt(effect)).outcome == "ok"
        assert database.connections == 1

    probing(monkeypatch, story)


def test_an_error_is_told_and_another_connection_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(database: Database, effect: Effect) -> None:
        database.up.set()
        database.answers.set()
        database.error = psycopg.OperationalError("the server closed the connection")
        failed = await attempt(effect)
        assert failed == Result("unknown", "the database could not be read: the server closed the connection")
        assert (await attempt(effect)).outcome == "ok"
        assert database.connections == 2

    probing(monkeypatch, story)


def test_what_nobody_answers_in_time_is_unknown_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(database: Database, effect: Effect) -> None:
        assert (await attempt(effect, within_s=0.01)).outcome == "unknown"
        assert effect._waiting == []

    probing(monkeypatch, story)

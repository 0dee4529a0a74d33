"""Refusals are grouped, kept while the primary is unavailable, and written once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import psycopg

from system import wire
from system.api.auth import refusal_recorder as module
from system.api.auth.refusal_recorder import RefusalRecorder, route_of
from system.api.http.metrics import REFUSALS_DROPPED
from system.process import DependencyState
from system.settings import Settings
from system.store.primary import NotWritten, OutcomeUnknown, Primary

PATH = f"{wire.PROJECTS}/5f0c9a51-6d0a-4b0e-9c27-3d6f6c0ce9a1"


class Doubtful(Primary):
    """A primary whose first answers are scripted: unavailable, or written but with an unknown outcome."""

    def __init__(self, settings: Settings, *troubles: Callable[[], Exception]) -> None:
        super().__init__(settings, DependencyState(logging.getLogger("test")))
        self._troubles = list(troubles)

    async def fetch(self, query: str, *args: object) -> list[Any]:
        if not self._troubles:
            return await super().fetch(query, *args)
        trouble = self._troubles.pop(0)()
        if isinstance(trouble, OutcomeUnknown):
            await super().fetch(query, *args)
        raise trouble


def written(settings: Settings) -> list[tuple[object, ...]]:
    host, _, port = settings.replica.partition(":")
    with psycopg.connect(f"host={host} port={port} user=postgres dbname={settings.database}") as connection:
        return connection.execute("select client_id, region, method, route, count from refusals order by id").fetchall()


def test_equal_refusals_are_one_entry(database: Settings) -> None:
    async def scenario() -> None:
        primary = Doubtful(database)
        refusals = RefusalRecorder(primary, "ams")
        await refusals.flush()
        for _ in range(3):
            refusals.add("reader", "DELETE", PATH, 403, "reader may not write projects")
        refusals.add("anonymous", "GET", wire.PROJECTS, 401, "no token")
        await refusals.flush()
        await refusals.flush()
        primary.close()

    asyncio.run(scenario())
    assert written(database) == [
        ("reader", "ams", "DELETE", f"{wire.PROJECTS}/{{id}}", 3),
        ("anonymous", "ams", "GET", wire.PROJECTS, 1),
    ]


def test_they_wait_for_the_primary_and_an_unknown_outcome_doubles_none(database: Settings) -> None:
    async def scenario() -> None:
        primary = Doubtful(database, lambda: NotWritten("away"), lambda: OutcomeUnknown("late"))
        refusals = RefusalRecorder(primary, "ams")
        refusals.add("reader", "GET", PATH, 403, "first")
        for _ in range(2):
            await refusals.flush()
            refusals.add("reader", "GET", PATH, 403, "first")
        await refusals.flush()  # The batch whose outcome was unknown had been written.
        await refusals.flush()
        primary.close()

    asyncio.run(scenario())
    assert [row[4] for row in written(database)] == [1, 2]


def dropped() -> float:
    [family] = REFUSALS_DROPPED.collect()
    return family.samples[0].value


def test_too_many_different_refusals_are_counted_as_dropped(database: Settings) -> None:
    before = dropped()
    refusals = RefusalRecorder(Doubtful(database), "ams")
    for number in range(module._KINDS_MAX + 5):
        refusals.add(f"client-{number}", "GET", PATH, 403, "reason")
    refusals.add("client-1", "GET", PATH, 403, "reason")
    assert dropped() - before == 5


def test_a_route_contains_no_text_from_the_request() -> None:
    assert route_of(wire.PROJECTS) == wire.PROJECTS
    assert route_of(f"{wire.USERS}/somebody/else") == f"{wire.USERS}/{{id}}"
    assert route_of("/api/v1/secret") == "other"

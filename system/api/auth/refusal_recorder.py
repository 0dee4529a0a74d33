"""Records refused requests for the audit trail: equal refusals are counted, and written about once a second.

So a client that is refused often costs one row rather than one a request, and no answer waits for the primary. While
the primary is unavailable the counts are kept; refusals beyond a limit are counted as dropped.
"""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections.abc import Callable

import asyncpg

from system import wire
from system.api.http.metrics import REFUSALS_DROPPED
from system.store.audit import refusals
from system.store.audit.refusals import Refusal
from system.store.primary import NotWritten, OutcomeUnknown, Primary

_COLLECTIONS = (
    wire.COUNTRIES, wire.PROJECTS, wire.REGIONS, wire.SECTORS, wire.INCIDENTS, wire.USERS, wire.EVENTS, wire.WAKE,
    wire.TOKENS,
)  # fmt: skip
_KINDS_MAX = 1_000
_EVERY_S = 1.0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class RefusalRecorder:
    """The refusals of one process, grouped until they are written."""

    def __init__(self, primary: Primary, region: str, now: Callable[[], datetime.datetime] = _now) -> None:
        self._primary = primary
        self._region = region
        self._now = now
        self._counts: dict[Refusal, tuple[int, datetime.datetime]] = {}
        self._batch: tuple[object, ...] | None = None

    def add(self, client_id: str, method: str, path: str, status: int, reason: str) -> None:
        """Count a refusal. Dropped, and counted as dropped, if too many different ones are waiting."""
        refusal = Refusal(client_id, method, route_of(path), status, reason)
        count, _ = self._counts.get(refusal, (0, None))
        if count == 0 and len(self._counts) >= _KINDS_MAX:
            REFUSALS_DROPPED.inc()
            return
        self._counts[refusal] = (count + 1, self._now())

    async def run(self) -> None:
        """Write the waiting refusals once a second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write the waiting refusals. They keep waiting if the primary is unavailable."""
        if self._batch is None and self._counts:
            waiting = [(refusal, count, last_at) for refusal, (count, last_at) in self._counts.items()]
            self._counts = {}
            self._batch = refusals.arguments(secrets.token_hex(16), self._region, waiting)
        if self._batch is None:
            return
        try:
            await self._primary.fetch(refusals.WRITE, *self._batch)
        except (NotWritten, OutcomeUnknown):
            return
        except asyncpg.UniqueViolationError:
            pass  # An earlier try, whose outcome was unknown, had written the batch.
        self._batch = None


def route_of(path: str) -> str:
    """The route of a path, as the audit trail and the metrics name it: without ids and other text from the client."""
    for collection in _COLLECTIONS:
        if path == collection:
            return collection
        if path.startswith(f"{collection}/"):
            return f"{collection}/{{id}}"
    return "other"

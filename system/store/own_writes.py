"""Read your writes: a client does not read from a replica that lacks the client's last write.

A write is identified by its transaction's xid8. A replica shows every transaction below its snapshot's xmin, so most
reads only compare the write with the greatest xmin seen so far. Otherwise one loop polls the replica for all waiting
reads, for at most `wait_s`; after that the primary answers. On a standby `pg_current_snapshot()` does not list the
running transactions, so `pg_xact_status` decides about a write above xmin.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from system.store.connect import Record
from system.store.primary import Primary
from system.store.reader import NothingToRead, Reader

_POLL_EVERY_S = 0.004
_REMEMBERED_S = 30.0
"""A replica that is still being used shows a write by then."""
_CLIENTS_MAX = 10_000
_SHOWN = """
select pg_snapshot_xmin(s)::text, array(
    select x from unnest($1::text[]) x where case when x::xid8 < pg_snapshot_xmax(s)
        then coalesce(pg_xact_status(x::xid8), 'committed') <> 'in progress' else false end
) from pg_current_snapshot() s"""


class OwnWrites:
    """Remembers the last write of each client of this process, and reads from a member that shows it. Calls
    `answered_by` with `replica` or `primary` for each such read."""

    def __init__(
        self,
        reader: Reader,
        primary: Primary,
        answered_by: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wait_s: float = 0.05,
    ) -> None:
        self._reader = reader
        self._primary = primary
        self._answered_by = answered_by
        self._clock = clock
        self._wait_s = wait_s
        self._written: dict[str, tuple[int, float]] = {}
        self._xmin = 0
        self._losses = 0
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._polling: asyncio.Task[None] | None = None

    def wrote(self, client_id: str, xid: int) -> None:
        """Remember that a client wrote in the transaction `xid`."""
        self._written.pop(client_id, None)
        if len(self._written) >= _CLIENTS_MAX:
            del self._written[next(iter(self._written))]
        self._written[client_id] = (xid, self._clock())

    async def fetch(self, client_id: str, after: int | None, query: str, *args: object) -> list[Record]:
        """The rows of a reading statement that sees this client's last write and the write `after` (an xid, or None).
        NothingToRead, or what Primary.fetch raises."""
        wanted = self._wanted(client_id, after)
        if not wanted:
            return await self._reader.fetch(query, *args)
        if self._losses != self._reader.near_losses:
            self._losses, self._xmin = self._reader.near_losses, 0  # It may have come back on another timeline.
        if wanted < self._xmin or await self._shows(wanted):
            with contextlib.suppress(NothingToRead):
                rows = await self._reader.fetch_near(query, *args)
                self._answered_by("replica")
                return rows
        self._answered_by("primary")
        return await self._primary.fetch(query, *args)

    def _wanted(self, client_id: str, after: int | None) -> int:
        own = self._written.get(client_id)
        if own is None:
            return after or 0
        xid, at_s = own
        if self._clock() - at_s > _REMEMBERED_S:
            del self._written[client_id]
            xid = 0
        return max(xid, after or 0)

    async def _shows(self, xid: int) -> bool:
        """Whether the replica shows the write now or within `wait_s`."""
        answer = self._waiting.get(xid)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = self._waiting[xid] = loop.create_future()
            loop.call_later(self._wait_s, self._resolve, xid, False)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        return await asyncio.shield(answer)

    def _resolve(self, xid: int, shown: bool) -> None:
        answer = self._waiting.pop(xid, None)
        if answer is not None:
            answer.set_result(shown)

    async def _poll(self) -> None:
        """Poll the replica until no read waits."""
        while self._waiting:
            try:
                [(xmin, shown)] = await self._reader.fetch_near(_SHOWN, [str(xid) for xid in self._waiting])
            except NothingToRead:
                for xid in list(self._waiting):
                    self._resolve(xid, False)
                return
            self._xmin = max(self._xmin, int(xmin))
            for text in shown:
                self._resolve(int(text), True)
            await asyncio.sleep(_POLL_EVERY_S)

    def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()

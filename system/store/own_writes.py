"""Read your writes: a client that wrote does not read from a replica that lacks the write.

A write is known by its transaction's xid8. A replica shows every transaction below the oldest one that it knows to be
under way, so most reads need no more than a comparison with the greatest such bound seen; else the replica is asked
for `wait_s`, by one loop for all who wait, and then the primary answers. `pg_current_snapshot()` lists no running
transactions on a standby, so `pg_xact_status` is asked for what is above the bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from system.store.connect import Record
from system.store.primary import Primary
from system.store.reader import NothingToRead, Reader

_LOOK_EVERY_S = 0.004
_REMEMBERED_S = 30.0
"""By then every replica that is followed at all shows it."""
_CLIENTS_MAX = 10_000
_SHOWN = """
select pg_snapshot_xmin(s)::text, array(
    select x from unnest($1::text[]) x where case when x::xid8 < pg_snapshot_xmax(s)
        then coalesce(pg_xact_status(x::xid8), 'committed') <> 'in progress' else false end
) from pg_current_snapshot() s"""


class OwnWrites:
    """What each client of this process wrote last, and reads that see it. `answered_by` is told whether it was the
    `replica` or the `primary`."""

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
        self._bound = 0
        self._losses = 0
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._looking: asyncio.Task[None] | None = None

    def wrote(self, client_id: str, xid: int) -> None:
        """Remember a client's write."""
        self._written.pop(client_id, None)
        if len(self._written) >= _CLIENTS_MAX:
            del self._written[next(iter(self._written))]
        self._written[client_id] = (xid, self._clock())

    async def fetch(self, client_id: str, after: int | None, query: str, *args: object) -> list[Record]:
        """The rows of a reading statement that sees this client's last write, and the one `after` (None: none).
        NothingToRead, or what Primary.fetch raises."""
        wanted = self._wanted(client_id, after)
        if not wanted:
            return await self._reader.fetch(query, *args)
        if self._losses != self._reader.near_losses:
            self._losses, self._bound = self._reader.near_losses, 0  # It may have come back with another past.
        if wanted < self._bound or await self._shows(wanted):
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
        """Whether the replica shows it, or does in time."""
        answer = self._waiting.get(xid)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = self._waiting[xid] = loop.create_future()
            loop.call_later(self._wait_s, self._tell, xid, False)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(answer)

    def _tell(self, xid: int, shown: bool) -> None:
        answer = self._waiting.pop(xid, None)
        if answer is not None:
            answer.set_result(shown)

    async def _look(self) -> None:
        """Ask the replica again and again, until nobody waits."""
        while self._waiting:
            try:
                [(bound, shown)] = await self._reader.fetch_near(_SHOWN, [str(xid) for xid in self._waiting])
            except NothingToRead:
                for xid in list(self._waiting):
                    self._tell(xid, False)
                return
            self._bound = max(self._bound, int(bound))
            for text in shown:
                self._tell(int(text), True)
            await asyncio.sleep(_LOOK_EVERY_S)

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

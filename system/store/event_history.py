"""Past events, read from the outbox table: from the region's replica if it has them, else from the primary.

Each batch gets its positions in one transaction, so a replica shows a prefix of each partition without gaps. If it
shows nothing after a position, it may merely lag.
"""

from __future__ import annotations

import asyncio

from system.domain.frames import EncodedEvent
from system.store.connect import Record
from system.store.outbox import AFTER, events_of
from system.store.primary import NotWritten, OutcomeUnknown, Primary
from system.store.reader import NothingToRead, Reader

_AT_A_TIME = 2
"""Queries at a time: all requests share a few connections."""
_TAILS = "select partition, next_position - 1 from relay_partition"


class Gone(Exception):
    """The events after this position have been pruned, or the position was never assigned."""


class EventHistory:
    """Reads past events. Every method raises NothingToRead if no member answers."""

    def __init__(self, reader: Reader, primary: Primary) -> None:
        self._reader = reader
        self._primary = primary
        self._places = asyncio.Semaphore(_AT_A_TIME)

    async def tails(self, *, latest: bool = False) -> dict[str, int]:
        """The last position in each partition, from the region's replica, or with `latest` from the primary."""
        rows = await (self._ask_primary(_TAILS) if latest else self._reader.fetch(_TAILS))
        return {row[0]: row[1] for row in rows}

    async def after(self, partition: str, position: int, limit: int) -> list[EncodedEvent]:
        """The next events of a partition, at least one and at most `limit`. Gone if the first of them is missing."""
        async with self._places:
            events = events_of(await self._reader.fetch(AFTER, partition, position, limit))
            if not events:
                events = events_of(await self._ask_primary(AFTER, partition, position, limit))
        if not events or events[0].position != position + 1:
            raise Gone(f"{partition}: the event at position {position + 1} is not kept any more")
        return events

    async def _ask_primary(self, query: str, *args: object) -> list[Record]:
        try:
            return await self._primary.fetch(query, *args)
        except (NotWritten, OutcomeUnknown) as error:
            raise NothingToRead(str(error)) from None

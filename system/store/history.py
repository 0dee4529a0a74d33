"""Events that have happened, for those who come late: from the outbox table, in the region's member as far as that
has come, then in the primary.

Positions are given out in one transaction for each batch, so what a replica shows of a partition is a beginning of
it without a hole; if it shows nothing behind a position it may only be late.
"""

from __future__ import annotations

import asyncio

from system.domain.frames import EncodedEvent
from system.store.connect import Record
from system.store.outbox import AFTER, events_of
from system.store.primary import NotWritten, OutcomeUnknown, Primary
from system.store.reader import NothingToRead, Reader

_AT_A_TIME = 2
"""Of the few connections that all requests share."""
_TAILS = "select partition, next_position - 1 from relay_partition"


class Gone(Exception):
    """The events behind this position are not kept any more, or it was never given out."""


class History:
    """What there is to read; all methods raise NothingToRead if no member answers."""

    def __init__(self, reader: Reader, primary: Primary) -> None:
        self._reader = reader
        self._primary = primary
        self._places = asyncio.Semaphore(_AT_A_TIME)

    async def tails(self, *, latest: bool = False) -> dict[str, int]:
        """The last position in each partition, as the region's member or the primary (`latest`) knows it."""
        rows = await (self._ask_primary(_TAILS) if latest else self._reader.fetch(_TAILS))
        return {row[0]: row[1] for row in rows}

    async def after(self, partition: str, position: int, limit: int) -> list[EncodedEvent]:
        """The next events of a partition, which has some: at least one and at most `limit`. Gone."""
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

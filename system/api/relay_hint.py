"""A hint to the relay, after a write, that the outbox has new rows."""

from __future__ import annotations

import asyncio
import contextlib

from system.store.item_sql import SEND_HINT
from system.store.primary import NotWritten, OutcomeUnknown, Primary
from system.wire import Aggregate


class RelayHint:
    """Notifies the relay of new outbox rows: once for all writes that come together, and without delaying an answer."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        self._wanted = asyncio.Event()
        self._aggregates: set[Aggregate] = set()

    def send(self, aggregate: Aggregate) -> None:
        """Have a hint sent soon that there are new rows of an aggregate."""
        self._aggregates.add(aggregate)
        self._wanted.set()

    async def run(self) -> None:
        """Send hints until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            aggregates, self._aggregates = self._aggregates, set()
            # A hint may get lost: the relay looks for rows without one four times a second.
            with contextlib.suppress(NotWritten, OutcomeUnknown):
                await self._primary.fetch(SEND_HINT, list(aggregates))

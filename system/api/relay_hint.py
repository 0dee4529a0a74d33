"""A hint to the relay, after a write, that the outbox has new rows."""

from __future__ import annotations

import asyncio
import contextlib

from system.store.item_sql import SEND_HINT
from system.store.primary import NotWritten, OutcomeUnknown, Primary


class RelayHint:
    """Notifies the relay of new outbox rows: once for all writes that come together, and without delaying an answer."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        self._wanted = asyncio.Event()

    def send(self) -> None:
        """Have a hint sent soon."""
        self._wanted.set()

    async def run(self) -> None:
        """Send hints until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            # A hint may get lost: the relay polls ten times a second in any case.
            with contextlib.suppress(NotWritten, OutcomeUnknown):
                await self._primary.fetch(SEND_HINT)

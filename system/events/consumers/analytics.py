"""`python -m system.events.consumers.analytics`: add every event to the roll-ups, exactly once.

Users and incidents have no roll-ups; analytics only moves its positions past their events.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

import asyncpg

from system import process
from system.domain.totals import deltas_of
from system.events.consuming.postgres import PostgresEffect
from system.events.consuming.runner import main_of
from system.store import rollups
from system.wire import CountryEvent, Event, ProjectEvent

NAME = "analytics"


class Analytics(PostgresEffect):
    """The effect on the roll-ups, for one stream."""

    consumer: ClassVar[str] = NAME

    async def effects(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        summed = [event for event in events if isinstance(event, CountryEvent | ProjectEvent)]
        await rollups.add(connection, deltas_of(summed))


if __name__ == "__main__":
    sys.exit(process.run(NAME, main_of(NAME, Analytics)))

"""`python -m system.events.consumers.analytics`: add every event to the roll-ups, exactly once.

Roll-ups, positions and the trace of what was applied change in one transaction.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import asyncpg

from system import process
from system.domain.totals import deltas_of
from system.events.consumers import guard
from system.events.consumers.guard import Admission
from system.events.consumers.runner import Batch, Delivery, main_of
from system.events.streams import ANALYTICS
from system.settings import Settings
from system.store import rollups
from system.store.rollups import PositionMoved
from system.store.session import Session, Unavailable
from system.wire import Stream


class Analytics:
    """The effect on the roll-ups, for one stream."""

    def __init__(self, settings: Settings, _: Stream) -> None:
        self._session = Session(settings, ANALYTICS)

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        try:
            return await self._session.run(lambda connection: _apply(connection, batch))
        except PositionMoved as error:
            raise Unavailable(str(error)) from None

    async def close(self) -> None:
        self._session.close()


async def _apply(connection: asyncpg.Connection, batch: Batch) -> dict[str, Admission[Delivery]]:
    async with connection.transaction():
        positions = await rollups.positions(connection, ANALYTICS, list(batch))
        admissions = {partition: guard.admit(positions[partition], arrived) for partition, arrived in batch.items()}
        moves, applied = [], []
        for partition, admission in admissions.items():
            if admission.applicable:
                last = admission.applicable[-1].position
                moves.append((partition, positions[partition], last))
                applied += [(partition, *run) for run in guard.ranges(admission.applicable)]
        if moves:
            await rollups.move(connection, ANALYTICS, moves, applied)
            events = [one.event for admission in admissions.values() for one in admission.applicable]
            await rollups.add(connection, deltas_of(events))
    return admissions


if __name__ == "__main__":
    sys.exit(process.run(ANALYTICS, main_of(ANALYTICS, Analytics, per_region=False)))

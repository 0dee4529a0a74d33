"""The base of effects in PostgreSQL. Effect, positions and trace change in one transaction, so each event takes effect
once, whatever is killed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

import asyncpg

from system.events.consuming import guard
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.guard import Admission
from system.settings import Settings
from system.store import positions
from system.store.positions import PositionMoved, State
from system.store.session import Session, Unavailable
from system.wire import Event, Stream

T = TypeVar("T")


class PostgresEffect:
    """An Effect. A subclass names its `consumer` and implements `effects`."""

    consumer: ClassVar[str]
    # Roll-ups, the audit trail and notifications are read much later than that.
    gather_s: float = 0.25

    def __init__(self, settings: Settings, _: Stream) -> None:
        self._session = Session(settings, self.consumer)

    async def effects(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        """Apply events, in order within each partition, in the caller's transaction."""
        raise NotImplementedError

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        return await self._run(lambda connection: self._apply(connection, batch))

    async def skip(self, partition: str, position: int, reason: str) -> None:
        await self._run(lambda c: positions.skip(c, self.consumer, partition, position, reason))

    async def positions(self) -> Mapping[str, int]:
        return await self._run(lambda connection: positions.positions(connection, self.consumer))

    async def close(self) -> None:
        self._session.close()

    async def _run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        try:
            return await self._session.run(work)
        except PositionMoved as error:
            raise Unavailable(str(error)) from None

    async def _apply(self, connection: asyncpg.Connection, batch: Batch) -> dict[str, Admission[Delivery]]:
        async with connection.transaction():
            states = await positions.states(connection, self.consumer, list(batch))
            admissions = {
                partition: guard.admit(states[partition].position, arrived, states[partition].skipped)
                for partition, arrived in batch.items()
            }
            applied = {partition: one.applicable for partition, one in admissions.items() if one.applicable}
            if applied:
                await self._move(connection, states, applied)
                await self.effects(connection, [one.event for arrived in applied.values() for one in arrived])
        return admissions

    async def _move(
        self, connection: asyncpg.Connection, states: Mapping[str, State], applied: Mapping[str, list[Delivery]]
    ) -> None:
        moves, traces, made_up = [], [], []
        for partition, arrived in applied.items():
            before, skipped = states[partition]
            # A replay of a skipped position does not move the position back.
            moves.append((partition, before, max(before, arrived[-1].position)))
            traces += [(partition, *run) for run in guard.ranges(arrived)]
            if skipped:
                made_up += [(partition, one.position) for one in arrived if one.position in skipped]
        await positions.move(connection, self.consumer, moves, traces)
        if made_up:
            await positions.made_up(connection, self.consumer, made_up)

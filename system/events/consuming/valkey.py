"""The base of effects in a region's Valkey. Effect, positions and trace change in one script, so each event takes
effect once, whatever is killed.

A Valkey that was emptied has lost positions and effects together. The consumer then continues from its last report, or
from the oldest event if it never reported, and applies the events to an empty store. It must not continue from the
first event that happens to be delivered: older events, which an earlier process fetched and did not apply, may still be
redelivered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar

from redis import RedisError

from system.events.consuming import guard
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.guard import Admission
from system.settings import Settings
from system.store import positions as positions_
from system.store.session import Session, Unavailable
from system.store.valkey import client as valkey_client
from system.store.valkey.consumer_state import ConsumerState, Move
from system.wire import Event, Stream

_ANSWER_WITHIN_S = 1.0
_PORTION = 1_000
"""Events a script. Valkey answers no other client while a script runs."""

T = TypeVar("T")


class ValkeyEffect:
    """An Effect. A subclass names its `consumer`, the Lua `commands` of its effect and their `own_keys` (see
    `ConsumerState`), and implements `arguments` if the commands take any."""

    consumer: ClassVar[str]
    commands: ClassVar[str]
    own_keys: ClassVar[tuple[str, ...]]
    gather_s: float = 0.0

    def __init__(self, settings: Settings, _: Stream) -> None:
        client = valkey_client.connect(settings, _ANSWER_WITHIN_S)
        self._state = ConsumerState(client, self.consumer, self.commands, self.own_keys)
        self._reported_as = f"{self.consumer}-{settings.region}"
        self._session = Session(settings, f"{self.consumer}-origin")
        self._origins: dict[str, int] = {}
        self._moved: dict[str, int] = {}
        """Partition -> the position as it was last read or stored; empty after a failure."""

    def arguments(self, events: Sequence[Event]) -> list[bytes | str]:
        """The arguments of the commands for events, which are in order within each partition."""
        return []

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        admissions = await self._apply(batch, dict(self._moved)) if self._follows(batch) else None
        if admissions is None:
            admissions = await self._apply(batch, await self.positions())
        if admissions is None:
            raise Unavailable(f"{self.consumer}: another instance moved a position meanwhile")
        return admissions

    async def _apply(self, batch: Batch, positions: dict[str, int]) -> Mapping[str, Admission[Delivery]] | None:
        """As `apply`, given the positions; None if these are not the stored ones."""
        self._moved = {}
        skipped = await self._skipped(positions, batch)
        origins = await self._known_origins([partition for partition in batch if partition not in positions])
        admissions = {
            partition: guard.admit((origins | positions)[partition], arrived, skipped.get(partition, frozenset()))
            for partition, arrived in batch.items()
        }
        moved = dict(positions)
        for moves, events in _portions(positions, skipped, admissions):
            if not await _ask(self._state.apply(moves, self.arguments(events)), faults=True):
                return None
            for move in moves:
                self._origins.pop(move.partition, None)
                moved[move.partition] = move.after
        self._moved = moved
        return admissions

    async def skip(self, partition: str, position: int, reason: str) -> None:
        self._moved = {}
        known = await self.positions()
        origins = await self._known_origins([] if partition in known else [partition])
        await _ask(self._state.skip(partition, position, origins.get(partition, 0)))

    async def positions(self) -> dict[str, int]:
        return await _ask(self._state.positions())

    async def close(self) -> None:
        self._session.close()
        await self._state.close()

    async def origins(self, partitions: Sequence[str]) -> dict[str, int]:
        """Partition -> the position to continue after, for partitions without a stored one. Unavailable."""
        try:
            return await self._session.run(lambda link: positions_.origins(link, self._reported_as, partitions))
        finally:
            self._session.close()  # It is rarely needed, and the primary has few connections.

    def _follows(self, batch: Batch) -> bool:
        """Whether each partition's deliveries begin just after its known position. Then the positions need not be
        read: the script compares all of them, since each partition has an event to apply."""
        return all(
            partition in self._moved and min(one.position for one in arrived) == self._moved[partition] + 1
            for partition, arrived in batch.items()
        )

    async def _known_origins(self, partitions: Sequence[str]) -> dict[str, int]:
        """The origins of partitions, cached as long as they have no stored position, so that a report that is made
        meanwhile changes nothing. The first move drops the cached origin: the next time that Valkey is emptied there
        are later reports."""
        self._origins = {one: origin for one, origin in self._origins.items() if one in partitions}
        unknown = [one for one in partitions if one not in self._origins]
        if unknown:
            self._origins |= await self.origins(unknown)
        return self._origins

    async def _skipped(self, positions: Mapping[str, int], batch: Batch) -> Mapping[str, set[int]]:
        """Partition -> which of the delivered positions at or below the stored one were skipped."""
        behind = {
            partition: [one.position for one in arrived if one.position <= positions.get(partition, 0)]
            for partition, arrived in batch.items()
        }
        asked = {partition: ones for partition, ones in behind.items() if ones}
        return await _ask(self._state.skipped(asked)) if asked else {}


def _portions(
    positions: Mapping[str, int], skipped: Mapping[str, set[int]], admissions: Mapping[str, Admission[Delivery]]
) -> Iterator[tuple[list[Move], list[Event]]]:
    """The applicable events in portions of at most _PORTION, each as (moves, events), with a partition at most once in
    a portion."""
    moves: list[Move] = []
    events: list[Event] = []
    for partition, admission in admissions.items():
        before = positions.get(partition)
        for start in range(0, len(admission.applicable), _PORTION):
            portion = admission.applicable[start : start + _PORTION]
            if moves and len(events) + len(portion) > _PORTION:
                yield moves, events
                moves, events = [], []
            after = max(before or 0, portion[-1].position)
            replayed = [one.position for one in portion if one.position in skipped.get(partition, ())]
            moves.append(
                Move(partition=partition, before=before, after=after, ranges=guard.ranges(portion), replayed=replayed)
            )
            events += [one.event for one in portion]
            before = after
    if moves:
        yield moves, events


async def _ask(question: Awaitable[T], *, faults: bool = False) -> T:
    """The answer to a command. Unavailable for every error of Valkey; with `faults`, errors that the events or the
    commands cause are raised as they are."""
    try:
        return await question
    except RedisError as error:
        if faults and valkey_client.is_fault(error):
            raise
        raise Unavailable(str(error) or type(error).__name__) from error

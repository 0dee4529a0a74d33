"""Applies deliveries to an effect until each has an outcome: it waits out an outage of the store, and makes a dead
letter of an event that cannot be applied, so that the events after it are not delayed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from nats.aio.msg import Msg

from system.domain.frames import Fault, part_of, span
from system.events import metrics
from system.events.consuming.dead_letters import DeadLetterOffice
from system.events.consuming.effect import Batch, Delivery, Effect
from system.process import DependencyState, retry
from system.store.session import Unavailable
from system.wire import POSITIONS_HEADER

_TRIES_ALONE = 3

T = TypeVar("T")


class Unreadable(NamedTuple):
    """A fault in a message: the whole message or one of its events."""

    fault: Fault
    message: Msg


class Held(NamedTuple):
    """A position that waits for a gap to be filled; its message is to be redelivered."""

    position: int
    message: Msg | None


@dataclass
class Settled:
    """The outcome for a partition: everything is applied, a duplicate or a dead letter, except what is `held`."""

    next_position: int = 0
    held: list[Held] = field(default_factory=list)


class Persister:
    """Applies batches to one effect."""

    def __init__(
        self, consumer: str, stream: str, effect: Effect, office: DeadLetterOffice, dependencies: DependencyState,
        log: logging.Logger,
    ) -> None:  # fmt: skip
        self._effect = effect
        self._office = office
        self._dependencies = dependencies
        self._log = log
        self._effects = metrics.EFFECTS.labels(consumer, stream)
        self._duplicates = metrics.DUPLICATES.labels(consumer, stream)

    async def apply(self, batch: Batch, unreadable: Mapping[str, Sequence[Unreadable]]) -> dict[str, Settled]:
        """Apply a batch. Returns partition -> outcome after the commit, however long that takes."""
        settled: dict[str, Settled] = {}
        if not unreadable:
            try:
                await self._commit(batch, settled)
                return settled
            except Exception as error:  # noqa: BLE001 - a faulty event raises anything, and must not stop the partition.
                self._log.error("a batch failed and is tried in parts: %s: %s", type(error).__name__, error)
        for partition in batch.keys() | unreadable.keys():
            settled[partition] = Settled()
            await self._in_order(partition, batch.get(partition, ()), unreadable.get(partition, ()), settled)
        return settled

    async def _in_order(
        self, partition: str, arrived: Sequence[Delivery], unreadable: Sequence[Unreadable],
        settled: dict[str, Settled],
    ) -> None:  # fmt: skip
        """Apply a partition's deliveries in order of position, with a dead letter at the place of each unreadable
        one."""
        rest = sorted(arrived, key=lambda one: one.position)
        for one in sorted(unreadable, key=lambda bad: bad.fault.first or 0):
            before = [good for good in rest if good.position < (one.fault.first or 0)]
            rest = rest[len(before) :]
            await self._bisect(partition, before, settled)
            await self._put_aside(one.fault, one.message, settled[partition])
        await self._bisect(partition, rest, settled)

    async def _bisect(self, partition: str, arrived: Sequence[Delivery], settled: dict[str, Settled]) -> None:
        """Apply deliveries; if that fails, bisect them until the faulty event is found."""
        if not arrived:
            return
        failure: Exception | None = None
        for _ in range(_TRIES_ALONE if len(arrived) == 1 else 1):
            try:
                await self._commit({partition: arrived}, settled)
                return
            except Exception as error:  # noqa: BLE001 - as above.
                failure = error
        if len(arrived) > 1:
            middle = len(arrived) // 2
            await self._bisect(partition, arrived[:middle], settled)
            await self._bisect(partition, arrived[middle:], settled)
        else:
            [one] = arrived
            reason = f"{type(failure).__name__}: {failure}"
            fault = Fault(partition, one.position, one.position, reason, _data_of(one))
            await self._put_aside(fault, one.message, settled[partition])

    async def _commit(self, batch: Batch, settled: dict[str, Settled]) -> None:
        admissions = await self._persist(lambda: self._effect.apply(batch))
        for partition, admission in admissions.items():
            self._effects.inc(len(admission.applicable))
            self._duplicates.inc(len(admission.duplicates))
            of_partition = settled.setdefault(partition, Settled())
            of_partition.next_position = admission.next_position
            of_partition.held += [Held(one.position, one.message) for one in admission.held]

    async def _put_aside(self, fault: Fault, message: Msg | None, settled: Settled) -> None:
        """Store a dead letter, then move past its positions. Does nothing if they were moved past already; holds them
        back if they are not the next ones."""
        assert fault.first is not None
        assert fault.last is not None
        position = (await self._persist(self._effect.positions)).get(fault.partition, fault.first - 1)
        settled.next_position = position + 1
        if position >= fault.last:
            return
        if position + 1 < fault.first:
            settled.held.append(Held(fault.first, message))
            return
        await self._office.put_aside(fault, message.metadata.sequence.stream if message else 0)
        for skipped in range(position + 1, fault.last + 1):
            await self._skip(fault.partition, skipped, fault.reason)
        settled.next_position = fault.last + 1

    async def _skip(self, partition: str, position: int, reason: str) -> None:
        await self._persist(lambda: self._effect.skip(partition, position, reason))

    async def _persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, retried through an outage of the store: events in hand are not given back for that."""
        return await retry(work, Unavailable, self._dependencies, "where effects go")


def _data_of(one: Delivery) -> bytes:
    """The event's JSON as it arrived. Encoding the decoded event could lose fields that a newer relay wrote."""
    if one.message is None:
        return one.data
    positions = span((one.message.headers or {}).get(POSITIONS_HEADER))
    return part_of(one.message.data, positions[0], one.position) if positions else bytes(one.message.data)

"""The interface between the runner and a consumer's effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from nats.aio.msg import Msg

from system.events.consuming.guard import Admission
from system.wire import Event


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """An event and the message that it came in. The message is None if the event was read to fill a gap or to replay a
    dead letter; then `data` is the event's JSON."""

    event: Event
    message: Msg | None
    data: bytes = b""

    @property
    def position(self) -> int:
        return self.event.position


Batch = Mapping[str, Sequence[Delivery]]
"""Partition -> deliveries."""


class Effect(Protocol):
    """The effect of a consumer, for one stream. Any exception but Unavailable is a fault of an event or of the code:
    the event is tried again alone, then becomes a dead letter."""

    gather_s: float
    """How long events may wait for others to be applied with: a commit, an acknowledgement and a wake-up cost as much
    for one as for a hundred. 0 where a client waits for the effect."""

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        """Apply the events that may be applied, with their positions in the same transaction. Returns after its commit:
        partition -> admission. Unavailable if the outcome is unknown; then the same batch comes again."""

    async def skip(self, partition: str, position: int, reason: str) -> None:
        """Move past the next position without its effect, and remember that it was skipped, so that the guard admits
        its replay once. Does nothing if `position` is not the next one. Unavailable as for `apply`."""

    async def positions(self) -> Mapping[str, int]:
        """Partition -> position, for those that have one. Unavailable if they cannot be read."""

    async def close(self) -> None: ...

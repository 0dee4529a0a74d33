"""What a consumer is about: its effect, and the protocol by which the runner has it applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from nats.aio.msg import Msg

from system.events.consuming.guard import Admission
from system.wire import Event


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """An event that arrived, and the message that brought it; none if it was read again to fill a gap or to
    replay it: then `data` is its JSON."""

    event: Event
    message: Msg | None
    data: bytes = b""

    @property
    def position(self) -> int:
        return self.event.position


Batch = Mapping[str, Sequence[Delivery]]
"""Partition -> what arrived of it."""


class Effect(Protocol):
    """One effect serves one stream. Any exception but Unavailable is a fault of the event or of the code: the
    event is tried again alone, then put aside as a dead letter."""

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        """Apply what may be applied, position and effect in one transaction; return only after its commit.
        Unavailable if that is not known to have gone well: the same batch then comes again."""

    async def skip(self, partition: str, position: int, reason: str) -> None:
        """Move past the next position without its effect, and remember it, so that the guard admits it once
        when it is replayed. Does nothing unless it is the next one. Unavailable as with `apply`."""

    async def positions(self) -> Mapping[str, int]:
        """The position in each partition that has one. Unavailable if they cannot be read."""

    async def close(self) -> None: ...

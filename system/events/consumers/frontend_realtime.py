"""`python -m system.events.consumers.frontend_realtime`: a regional consumer; append every event to the region's feed,
exactly once. The API's processes send the feed to their subscribers (`system.api.live.event_hub`).

A Valkey that was emptied has lost the feed with the positions; subscribers get missing events from the outbox.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from system import process
from system.events.consuming.runner import main_of
from system.events.consuming.valkey import ValkeyEffect
from system.store.valkey.event_feed import APPEND, append_arguments
from system.wire import Event
from system.wire.observer import FEED

NAME = "frontend-realtime"


class RealtimeFeed(ValkeyEffect):
    """The effect on the region's feed, for one stream."""

    consumer: ClassVar[str] = NAME
    commands: ClassVar[str] = APPEND
    own_keys: ClassVar[tuple[str, ...]] = (FEED,)

    def arguments(self, events: Sequence[Event]) -> list[bytes | str]:
        return append_arguments(events)


if __name__ == "__main__":
    sys.exit(process.run(NAME, main_of(NAME, RealtimeFeed)))

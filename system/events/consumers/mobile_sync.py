"""`python -m system.events.consumers.mobile_sync`: a regional consumer; update the region's wake-up feed with every
event, exactly once: the positions, which devices compare with their own, and a notice for devices that wait
(`system.api.live.wake_hub`).
"""

from __future__ import annotations

import sys
from typing import ClassVar

from system import process
from system.events.consuming.runner import main_of
from system.events.consuming.valkey import ValkeyEffect
from system.store.valkey.wake_feed import CHANGED, MOBILE_SYNC, NOTIFY


class WakeUp(ValkeyEffect):
    """The effect on the region's wake-up feed, for one stream."""

    consumer: ClassVar[str] = MOBILE_SYNC
    commands: ClassVar[str] = NOTIFY
    own_keys: ClassVar[tuple[str, ...]] = (CHANGED,)
    # A device that is woken syncs over a mobile network, and once for all that has changed.
    gather_s = 0.1


if __name__ == "__main__":
    sys.exit(process.run(MOBILE_SYNC, main_of(MOBILE_SYNC, WakeUp)))

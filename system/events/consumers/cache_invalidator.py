"""`python -m system.events.consumers.cache_invalidator`: once a region; delete the region's cached totals with
every event of a country or a project, exactly once.

When an event is acknowledged, no reader is shown totals from before it: they are deleted, and filling the cache with
older ones is refused. The positions stand in the same Valkey as the cache. One that has been emptied has lost both,
and with the cache empty everything is invalidated.
"""

from __future__ import annotations

import sys
from typing import ClassVar

from system import process
from system.events.consuming.runner import main_of
from system.events.consuming.valkey import ValkeyEffect
from system.store.valkey.totals_cache import INVALIDATE, INVALIDATOR, TOTALS


class CacheInvalidation(ValkeyEffect):
    """The effect on the region's cache, for one stream."""

    consumer: ClassVar[str] = INVALIDATOR
    commands: ClassVar[str] = INVALIDATE
    own_keys: ClassVar[tuple[str, ...]] = (TOTALS,)


if __name__ == "__main__":
    sys.exit(process.run(INVALIDATOR, main_of(INVALIDATOR, CacheInvalidation, per_region=True)))

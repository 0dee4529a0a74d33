"""`python -m system.events.consumers.cache_invalidator`: a regional consumer; delete the region's cached totals with
every event of a country or a project, exactly once.

After an event is acknowledged no reader gets totals from before it: they are deleted, and older ones are not stored
(see `totals_cache`). The positions are in the same Valkey as the cache. A Valkey that was emptied has lost both, and an
empty cache needs no invalidation.
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
    sys.exit(process.run(INVALIDATOR, main_of(INVALIDATOR, CacheInvalidation)))

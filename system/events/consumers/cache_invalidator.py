"""`python -m system.events.consumers.cache_invalidator`: once a region; delete the region's cached totals with
every event, exactly once.

The position stands in the same Valkey as the cache. One that has been emptied has lost both, and with the
cache empty everything is invalidated: the consumer goes on from the first event that it is given.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from redis import RedisError

from system import process
from system.events.consumers import guard
from system.events.consumers.guard import Admission
from system.events.consumers.runner import Batch, Delivery, main_of
from system.settings import Settings
from system.store import totals_cache
from system.store.session import Unavailable
from system.store.totals_cache import Invalidator
from system.wire import Stream

NAME = "cache-invalidator"
_ANSWER_WITHIN_S = 1.0


class CacheInvalidation:
    """The effect on the region's cache, for one stream."""

    def __init__(self, settings: Settings, _: Stream) -> None:
        self._valkey = Invalidator(totals_cache.connect(settings, _ANSWER_WITHIN_S))

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        try:
            positions = await self._valkey.positions()
            admissions, moves = _plan(positions, batch)
            if moves and not await self._valkey.invalidate(moves):
                raise Unavailable("another instance moved a position meanwhile")
        except RedisError as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        return admissions

    async def close(self) -> None:
        await self._valkey.close()


Move = tuple[str, int | None, int, int, list[tuple[int, int]]]


def _plan(positions: Mapping[str, int], batch: Batch) -> tuple[dict[str, Admission[Delivery]], list[Move]]:
    """What may be applied, and how positions move by it."""
    admissions: dict[str, Admission[Delivery]] = {}
    moves: list[Move] = []
    for partition, arrived in batch.items():
        before = positions.get(partition)
        adopted = min(one.position for one in arrived) - 1
        admission = guard.admit(adopted if before is None else before, arrived)
        admissions[partition] = admission
        if admission.applicable:
            applied = admission.applicable
            moves.append((partition, before, applied[-1].position, len(applied), guard.ranges(applied)))
    return admissions, moves


if __name__ == "__main__":
    sys.exit(process.run(NAME, main_of(NAME, CacheInvalidation, per_region=True)))

"""Reports a consumer's progress: its lag as a metric, and a regional consumer's positions to PostgreSQL, so that relay
and incident monitor see all consumers in one place.

Reports are best effort. A late or lost one only makes the relay keep, or publish again, more events than necessary.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import asyncpg

from system.events import metrics
from system.process import DependencyState
from system.settings import Settings
from system.store import positions
from system.store.session import Session, Unavailable
from system.wire import Aggregate, stream_of

_EVERY_S = 1.0
_UNCHANGED_EVERY_S = 60.0


class Reporter:
    """`read` returns the positions to report; None for a consumer whose positions are in PostgreSQL."""

    def __init__(
        self,
        consumer: str,
        read: Callable[[], Awaitable[Mapping[str, int]]] | None,
        settings: Settings,
        dependencies: DependencyState,
    ) -> None:
        self._consumer = consumer
        self._read = read
        self._dependencies = dependencies
        self._session = Session(settings, f"{consumer}-report")
        self._reported: Mapping[str, int] = {}
        self._reported_at = 0.0

    async def run(self) -> None:
        """Report once a second until cancelled."""
        try:
            while True:
                try:
                    await self.report()
                    self._dependencies.back("position reports")
                except Unavailable as error:
                    self._dependencies.away("position reports", error)
                await asyncio.sleep(_EVERY_S)
        finally:
            self.close()

    def close(self) -> None:
        self._session.close()

    async def report(self) -> None:
        """Report once. Unavailable if the positions cannot be read or stored."""
        known = None if self._read is None else await self._read()
        try:
            heads = await self._session.run(lambda connection: self._exchange(connection, known or {}))
        except Unavailable:
            self._reported = {}  # The next primary may lack what was reported.
            raise
        lags: Counter[Aggregate] = Counter()
        for partition, (head, stored) in heads.items():
            own = stored if known is None else known.get(partition, 0)
            lags[_aggregate(partition)] += max(0, head - own)
        for aggregate, lag in lags.items():
            metrics.LAG.labels(self._consumer, stream_of(aggregate).name).set(lag)

    async def _exchange(
        self, connection: asyncpg.Connection, known: Mapping[str, int]
    ) -> Mapping[str, tuple[int, int]]:
        """Report what has changed; what else there is to know of each partition as `positions.heads` returns it."""
        now = time.monotonic()
        old = now - self._reported_at > _UNCHANGED_EVERY_S
        changed = {name: position for name, position in known.items() if old or self._reported.get(name) != position}
        if not changed:
            return await positions.heads(connection, self._consumer)
        heads = await positions.report(connection, self._consumer, changed)
        self._reported, self._reported_at = known, now if old else self._reported_at
        return heads


def _aggregate(partition: str) -> Aggregate:
    aggregate: Aggregate = partition.partition(".")[0]  # type: ignore[assignment]
    return aggregate

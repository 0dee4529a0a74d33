"""What became of a load of events at every consumer: how fast they were applied by all, each once, and by whom not.

Shared by who watches a paced load and by who drains a backlog. The events are read from the outbox, where the relay has
given them their positions; the consumers' own traces say what each applied.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psycopg
from redis.exceptions import RedisError

from infra.machine.spec import EngineError
from infra.target import Target
from ledger.observe import positions
from ledger.observe.positions import PARTITIONS, RELAY, Hand, Looks, TraceTooShort, everybody
from ledger.steps import Event, Events, Ranges, Steps, Timed, event_of, overlaps, spans, time_all, together
from reports.evidence import Hop, Operation, Rate, Recorder, RunFolder, percentile_ms

ROW = "bus.applied"
RELAY_ROW = "bus.relayed"
_LOOK_S = 0.2
_FETCH = 20_000
_COMPLETED_WITHIN_NS = 250_000_000
"""As for every rate: of the window's end."""
_UNASSIGNED = "select exists (select from outbox_queue where aggregate = 'projects')"
_LAST = """
select partition, max(position) from outbox_events
where partition = any(%s) and aggregate_id >= %s and aggregate_id < %s group by partition"""
_EVENTS = """
select partition, position, aggregate_id from outbox_events
where aggregate_id >= %s and aggregate_id < %s and position is not null order by partition, position"""


class Outcome:
    """The events of a load by partition, and where each consumer stood when."""

    def __init__(self, target: Target, looks: Looks, prefix: str) -> None:
        self._target = target
        self._looks = looks
        self._ids = prefix, f"{prefix}g"
        self.events: dict[str, Events] = {partition: Events() for partition in PARTITIONS}

    async def all_applied(self, deadline: float, stop: asyncio.Event | None = None) -> str | None:
        """Wait until every consumer has every event; None, or who lacks some at `deadline` (of time.monotonic) or when
        told to stop."""
        lasts: dict[str, int] | None = None
        while True:
            if lasts is None:
                lasts = await self._lasts()
            behind = self.behind(lasts) if lasts is not None else ["the relay has not given all positions"]
            if not behind:
                return None
            if time.monotonic() > deadline or (stop is not None and stop.is_set()):
                return f"not all was applied in time: {', '.join(behind[:3])}"
            await asyncio.sleep(_LOOK_S)

    def behind(self, lasts: Mapping[str, int]) -> list[str]:
        """Which consumers have not reached these positions."""
        hands = [*everybody(self._target.regions), Hand(RELAY)]
        lacks = {
            hand: sum(max(0, last - self._looks.lowest(hand, name)) for name, last in lasts.items()) for hand in hands
        }
        return [f"{hand} lacks {count:,}" for hand, count in lacks.items() if count]

    async def read(self) -> None:
        """Read the events from the outbox. EngineError if that is not possible."""
        try:
            async with (
                await psycopg.AsyncConnection.connect(self._target.observer_dsn) as link,
                link.cursor(name="events") as cursor,
            ):
                cursor.itersize = _FETCH
                await cursor.execute(_EVENTS, self._ids)
                async for partition, position, identity in cursor:
                    self.events[partition].add(event_of(identity, position))
        except psycopg.Error as error:
            raise EngineError(f"the outbox cannot be read: {error}") from None

    def timed(
        self, hands: Sequence[Hand], intended_ns: Callable[[Event], int], window: tuple[int, int], by_ns: int,
        recorder: Recorder,
    ) -> Timed:  # fmt: skip
        """`time_all` over all partitions, of the instant at which all of these have an event. Instants since 1970."""
        completed = never = 0
        for partition, events in self.events.items():
            steps: Steps = together([self._looks.steps[hand][partition] for hand in hands])
            found = time_all(events, steps, intended_ns, window, by_ns, recorder)
            completed, never = completed + found.completed, never + found.never
        return Timed(completed, never)

    def behind_at(self, hand: Hand, at_ns: int) -> int:
        """How many of the events a consumer had not applied at that instant."""
        steps = self._looks.steps[hand]
        return sum(len(events) - events.up_to(steps[name].at(at_ns)) for name, events in self.events.items())

    async def hops(self, folder: Path, client: str, problem: str | None) -> None:
        """Leave in the run's folder at which hop each event was found; `problem` is why that proves nothing of a
        consumer's."""
        run = RunFolder(folder)
        everything: dict[str, Ranges] = {name: [(0, 2**62)] for name in PARTITIONS}
        run.write_hop(Hop(client=client, hop="outbox", spans=spans(self.events, everything)))
        for hand in everybody(self._target.regions):
            run.write_hop(await self._hop(client, hand, problem))

    async def _hop(self, client: str, hand: Hand, problem: str | None) -> Hop:
        hop = Hop(client=client, hop=hand.consumer, region=hand.region, effect=True, problem=problem)
        if problem is not None:
            return hop
        first = min((events.positions[0] for events in self.events.values() if len(events)), default=0)
        try:
            if hand.region is None:
                applied = await positions.applied_in_database(self._target, hand.consumer, first)
            else:
                applied = await positions.applied_in_region(self._target, hand.region, hand.consumer)
        except (psycopg.Error, RedisError, OSError, TraceTooShort) as error:
            return Hop(client=client, hop=hand.consumer, region=hand.region, effect=True, problem=str(error))
        doubled = {partition: overlaps(ranges) for partition, ranges in applied.items()}
        return Hop(
            client=client, hop=hand.consumer, region=hand.region, effect=True, spans=spans(self.events, applied),
            doubled_spans=spans(self.events, doubled),
        )  # fmt: skip

    async def _lasts(self) -> dict[str, int] | None:
        """The last position of each partition that has events of the load; None while some have no position."""
        try:
            async with await psycopg.AsyncConnection.connect(self._target.observer_dsn, autocommit=True) as link:
                row = await (await link.execute(_UNASSIGNED)).fetchone()
                if row is None or row[0]:
                    return None
                return dict(await (await link.execute(_LAST, (list(PARTITIONS), *self._ids))).fetchall())
        except psycopg.Error:
            return None  # Looked at again until the deadline.


def evidence(
    outcome: Outcome, regions: list[str], intended_ns: Callable[[Event], int], window: tuple[int, int], offered: int
) -> tuple[list[Operation], list[Rate], dict[str, str]]:
    """What the rows are judged by, and what stands beside it: rates and latencies of the relay and of all consumers,
    and which of them was the slowest. `window` in ns since 1970."""
    by_ns = window[1] + _COMPLETED_WITHIN_NS
    rates, operations, told = [], [], {}
    for row, hands in ((ROW, everybody(regions)), (RELAY_ROW, [Hand(RELAY)])):
        recorder = Recorder()
        timed = outcome.timed(hands, intended_ns, window, by_ns, recorder)
        latencies = recorder.close()
        rates.append(Rate(name=row, offered=offered, completed=timed.completed))
        operations.append(Operation(name=row, latencies=latencies))
        p99_ms = percentile_ms(latencies, 99)
        told[row] = f"{timed.completed:,} in time" + ("" if p99_ms is None else f", p99 {p99_ms:,.0f} ms")
    behind = {hand: outcome.behind_at(hand, by_ns) for hand in everybody(regions)}
    slowest = max(behind, key=lambda hand: behind[hand])
    told["slowest"] = f"{slowest}, {behind[slowest]:,} events behind at the end"
    return operations, rates, told

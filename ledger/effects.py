"""What became of a load of events at every consumer: how fast they were applied by all, each once, and by whom not.

Shared by the engine that watches a paced load and by the one that drains a backlog. The events are read from the
outbox, where the relay has given them their positions; the consumers' own traces say what each applied.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psycopg
from redis.exceptions import RedisError

from infra.machine.spec import EngineError
from infra.target import Target
from ledger.coverage import lacking, overlaps
from ledger.numbered import NumberedEvent, NumberedEvents, event_of, spans
from ledger.observe.consumers import CutOff, traces
from ledger.observe.positions import RELAY, PositionWatch
from ledger.timing import Timed, reached_by_all, time_all
from reports.evidence import Hop, Operation, Rate, Recorder, RunFolder, percentile_ms
from reports.evidence.range_set import Range
from system import wire
from system.wire import observer
from system.wire.observer import ConsumerInstance

ROW = "bus.applied"
RELAY_ROW = "bus.relayed"
PARTITIONS = wire.partitions_of("projects")
"""Those that the events of a load go to."""
_LOOK_S = 0.2
_FETCH = 20_000
_COMPLETED_WITHIN_NS = 250_000_000
"""As for every rate: of the window's end."""
_UNASSIGNED = f"select exists (select from {observer.WAITING_EVENTS} where aggregate = 'projects')"
_LAST = f"""
select partition, max(position) from {observer.EVENTS}
where partition = any(%s) and aggregate_id >= %s and aggregate_id < %s group by partition"""
_EVENTS = f"""
select partition, position, aggregate_id from {observer.EVENTS}
where aggregate_id >= %s and aggregate_id < %s and position is not null order by partition, position"""


class LoadEffects:
    """The events of a load by partition, and where each consumer stood when. The ids of the load's projects begin with
    `prefix`; `began_ns` is an instant of time.monotonic_ns before its first event."""

    def __init__(self, target: Target, watch: PositionWatch, prefix: str, began_ns: int) -> None:
        self._target = target
        self._watch = watch
        self._ids = prefix, f"{prefix}g"
        self._began_ns = began_ns
        self.events: dict[str, NumberedEvents] = {partition: NumberedEvents() for partition in PARTITIONS}

    async def all_applied(self, deadline: float, stop: asyncio.Event | None = None) -> str | None:
        """Wait until every consumer has every event; None, or which of them lack some at `deadline` (of
        time.monotonic) or when `stop` is set."""
        heads: dict[str, int] | None = None
        while True:
            if heads is None:
                heads = await self._heads()
            behind = self.behind(heads) if heads is not None else ["the relay has not given all positions"]
            if not behind:
                return None
            if time.monotonic() > deadline or (stop is not None and stop.is_set()):
                return f"not all was applied in time: {', '.join(behind[:3])}"
            await asyncio.sleep(_LOOK_S)

    def behind(self, heads: Mapping[str, int]) -> list[str]:
        """Which consumers have not reached these positions."""
        counts = {
            instance: sum(lacking(heads, self._watch.positions(instance)).values())
            for instance in [*observer.instances(self._target.regions), RELAY]
        }
        return [f"{instance} lacks {count:,}" for instance, count in counts.items() if count]

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
        self, instances: Sequence[ConsumerInstance], intended_ns: Callable[[NumberedEvent], int],
        window: tuple[int, int], by_ns: int, recorder: Recorder,
    ) -> Timed:  # fmt: skip
        """`time_all` over all partitions, of the instant at which all of these have an event. Instants since 1970."""
        completed = never = 0
        for partition, events in self.events.items():
            history = reached_by_all(self._watch.histories(instances, partition))
            found = time_all(events, history, intended_ns, window, by_ns, recorder)
            completed, never = completed + found.completed, never + found.never
        return Timed(completed, never)

    def behind_at(self, instance: ConsumerInstance, at_ns: int) -> int:
        """How many of the events a consumer had not applied at that instant."""
        history = self._watch.history[instance]
        return sum(len(events) - events.up_to(history[name].at(at_ns)) for name, events in self.events.items())

    async def write_hops(self, folder: Path, client: str, problem: str | None) -> None:
        """Leave in the run's folder at which hop each event was found; `problem` is why that proves nothing of a
        consumer's."""
        run = RunFolder(folder)
        everything: dict[str, Iterable[Range]] = {name: [(0, 2**62)] for name in PARTITIONS}
        run.write_hop(Hop(client=client, hop="outbox", spans=spans(self.events, everything)))
        for instance in observer.instances(self._target.regions):
            run.write_hop(await self._hop(client, instance, problem))

    async def _hop(self, client: str, instance: ConsumerInstance, problem: str | None) -> Hop:
        applied: dict[str, list[Range]] = {}
        if problem is None:
            lowest = min((events.positions[0] for events in self.events.values() if len(events)), default=0)
            ran_s = (time.monotonic_ns() - self._began_ns) / 1e9
            try:
                applied = await asyncio.to_thread(traces, self._target, instance, PARTITIONS, lowest, ran_s)
            except (psycopg.Error, RedisError, OSError, ValueError, CutOff) as error:
                problem = str(error).strip() or type(error).__name__
        doubled = {partition: overlaps(trace) for partition, trace in applied.items()}
        return Hop(
            client=client, hop=instance.name, region=instance.region, effect=True, problem=problem,
            spans=spans(self.events, applied), doubled_spans=spans(self.events, doubled),
        )  # fmt: skip

    async def _heads(self) -> dict[str, int] | None:
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
    effects: LoadEffects, regions: list[str], intended_ns: Callable[[NumberedEvent], int], window: tuple[int, int],
    offered: int,
) -> tuple[list[Operation], list[Rate], dict[str, str]]:  # fmt: skip
    """What the rows are judged by, and what stands beside it: rates and latencies of the relay and of all consumers,
    and which of them was the slowest. `window` in ns since 1970."""
    by_ns = window[1] + _COMPLETED_WITHIN_NS
    everywhere = observer.instances(regions)
    rates, operations, notes = [], [], {}
    for row, instances in ((ROW, everywhere), (RELAY_ROW, [RELAY])):
        recorder = Recorder()
        timed = effects.timed(instances, intended_ns, window, by_ns, recorder)
        latencies = recorder.close()
        rates.append(Rate(name=row, offered=offered, completed=timed.completed))
        operations.append(Operation(name=row, latencies=latencies))
        p99_ms = percentile_ms(latencies, 99)
        notes[row] = f"{timed.completed:,} in time" + ("" if p99_ms is None else f", p99 {p99_ms:,.0f} ms")
    behind = {instance: effects.behind_at(instance, by_ns) for instance in everywhere}
    slowest = max(behind, key=lambda instance: behind[instance])
    notes["slowest"] = f"{slowest}, {behind[slowest]:,} events behind at the end"
    return operations, rates, notes

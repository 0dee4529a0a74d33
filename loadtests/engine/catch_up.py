"""Makes a backlog in the outbox as fast as PostgreSQL takes it, and watches how fast relay and consumers drain it.

The events do not wait for their turn: all are due at once. What is measured is the time from the last one's commit
until every consumer has applied everything that was not applied by then; what was worked off meanwhile does not count.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from infra import target as targets
from infra.machine.spec import EngineError
from ledger import effects
from ledger.numbered import NUMBER_MAX, sender_prefix
from ledger.observe.positions import RELAY, PositionWatch
from ledger.timing import drained, reached_by_all
from loadtests.engine import outbox_feed
from loadtests.engine.outbox_feed import BATCH_MAX, Outbox, batches, record
from loadtests.engine.process import Control, run_engine, sleep_until
from loadtests.recording.tally import Part
from reports.evidence import Rate, Recorder, RunFolder
from reports.evidence.folder import write_record
from system.wire import observer

_AT_ONCE = 4
_PUBLISHER = 1
_NS = 1_000_000_000


class CatchUpSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`events` wait; they may take `within_s` to be applied."""

    scenario: str
    folder: str
    target: str
    part: str
    users: int
    events: int
    within_s: float


async def work(spec: CatchUpSpec, control: Control) -> None:
    if not 1_000 <= spec.events <= NUMBER_MAX:
        raise EngineError(f"waiting events: expected 1,000 to {NUMBER_MAX:,}, found {spec.events:,}")
    if spec.users != 1:
        raise EngineError(f"users: one process makes the backlog and watches it, found {spec.users}")
    target = targets.read(Path(spec.target))
    outbox = Outbox(outbox_feed.database(target), sender_prefix(outbox_feed.prefix(spec.folder), _PUBLISHER))
    await outbox.open()
    async with PositionWatch(target, effects.PARTITIONS) as watch:
        begin_ns = await control.begin()
        if begin_ns is None:
            return
        await sleep_until(begin_ns)
        began, lag = time.monotonic(), Recorder()
        # All are due now; what waits for a connection from here on waits for PostgreSQL.
        lag.record_us((time.monotonic_ns() - begin_ns) // 1000, spec.events)
        appended = await _append_all(spec, control, outbox)
        filled_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        await outbox.close()
        load = effects.LoadEffects(target, watch, outbox_feed.prefix(spec.folder), begin_ns)
        problem = await load.all_applied(began + spec.within_s, control.finish)
        ended_ns = time.time_ns()
    await load.read()
    await load.write_hops(Path(spec.folder), spec.scenario, problem)
    part = _part(load, watch, target.regions, appended, filled_ns, wall_ns, ended_ns, problem)
    write_record(Path(spec.part), msgspec.structs.replace(part, schedule_lag=lag.close()))


async def _append_all(spec: CatchUpSpec, control: Control, outbox: Outbox) -> int:
    """Append them, a few batches at a time; how many are known to be there. EngineError if it takes too long."""
    appended = 0
    left = batches(0, spec.events, BATCH_MAX)
    deadline = time.monotonic() + spec.within_s
    with RunFolder(Path(spec.folder)).spans(spec.scenario) as ledger:

        async def work_off() -> None:
            nonlocal appended
            for first, after in left:
                if control.finish.is_set() or time.monotonic() > deadline:
                    return
                record(ledger, _PUBLISHER, first, after - 1, None)
                ended, _ = await outbox.append(first, after - 1)
                record(ledger, _PUBLISHER, first, after - 1, ended)
                appended += (after - first) if ended == "ok" else 0

        await asyncio.gather(*(work_off() for _ in range(_AT_ONCE)))
    if appended < spec.events and not control.finish.is_set():
        raise EngineError(f"expected {spec.events:,} events appended within {spec.within_s:.0f} s, found {appended:,}")
    return appended


def _part(
    load: effects.LoadEffects, watch: PositionWatch, regions: list[str], appended: int, filled_ns: int, wall_ns: int,
    ended_ns: int, problem: str | None,
) -> Part:  # fmt: skip
    """`filled_ns` is the instant of CLOCK_MONOTONIC that is `wall_ns` since 1970, as is `ended_ns`."""
    everywhere = observer.instances(regions)
    rates, notes, until_ns = [], {}, wall_ns + 1
    problems = watch.problems + ([problem] if problem else [])
    for row, instances in ((effects.RELAY_ROW, [RELAY]), (effects.ROW, everywhere)):
        partitions = [
            (events, reached_by_all(watch.histories(instances, name))) for name, events in load.events.items()
        ]
        went = drained(partitions, wall_ns, ended_ns)
        until_ns = max(until_ns, went.until_ns)
        # All are due in the same second: at their pace is what is done in a second.
        rates.append(Rate(name=row, offered=appended, completed=round(went.per_s(wall_ns))))
        seconds = (went.until_ns - wall_ns) / _NS
        notes[row] = f"{went.waiting:,} of {appended:,} waited, {went.left:,} still did after {seconds:.1f} s"
        if 2 * went.waiting < appended:
            problems.append(f"{row}: most was worked off while it was appended, which is what bounds this figure")
    behind = {str(instance): load.behind_at(instance, wall_ns) for instance in everywhere}
    path = {
        "path": "appended to the outbox by SQL, not through the API",
        "mode": f"{appended:,} events at once, {BATCH_MAX:,} a statement",
        "furthest behind": max(behind, key=lambda name: behind[name]),
    }
    return Part(
        measured_ns=filled_ns,
        end_ns=filled_ns + until_ns - wall_ns,
        offered_per_s=float(appended),
        offered=appended,
        sent=appended,
        ok=appended,
        operations=[],
        rates=rates,
        settings=notes | path,
        problems=problems,
    )


if __name__ == "__main__":
    run_engine(CatchUpSpec, work)

"""Watches how fast a paced load of events is applied by all six consumers, and that each applied every one once."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from infra import target as targets
from ledger import effects
from ledger.numbered import NumberedEvent
from ledger.observe.positions import EVERY_S, PositionWatch
from loadtests.engine import outbox_feed
from loadtests.engine.process import Control, run_engine
from loadtests.recording.tally import Part
from reports.evidence.folder import write_record

_DRAIN_S = 45.0
"""After the load: what is later than that is not waited for, and proves nothing."""


class EffectWatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` is that of all `users` together."""

    scenario: str
    folder: str
    target: str
    part: str
    rate: float
    users: int
    warmup_s: float
    duration_s: float


async def work(spec: EffectWatchSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    async with PositionWatch(target, effects.PARTITIONS) as watch:
        begin_ns = await control.begin()
        if begin_ns is None:
            return
        since_1970_ns = time.time_ns() - time.monotonic_ns()
        await control.finish.wait()
        load = effects.LoadEffects(target, watch, outbox_feed.prefix(spec.folder), begin_ns)
        problem = await load.all_applied(time.monotonic() + _DRAIN_S)
    await load.read()
    timing = outbox_feed.schedule(spec.rate / spec.users, begin_ns, spec.warmup_s, spec.duration_s)

    def intended_ns(event: NumberedEvent) -> int:
        return timing.intended_ns(event.number) + since_1970_ns

    window = timing.measured_ns + since_1970_ns, timing.end_ns + since_1970_ns
    offered = (timing.total - timing.first_measured) * spec.users
    operations, rates, notes = effects.evidence(load, target.regions, intended_ns, window, offered)
    await load.write_hops(Path(spec.folder), spec.scenario, problem)
    part = Part(
        measured_ns=timing.measured_ns,
        end_ns=timing.end_ns,
        operations=operations,
        rates=rates,
        settings=notes | {"looks": f"every {EVERY_S * 1000:g} ms: that much later at most is what they say"},
        problems=watch.problems + ([problem] if problem else []),
    )
    write_record(Path(spec.part), part)


if __name__ == "__main__":
    run_engine(EffectWatchSpec, work)

"""Many watchers of the live feed in every region, while stewards write: from the commit to each receipt."""

from __future__ import annotations

from loadtests.engine.realtime_watchers import WatchersSpec
from loadtests.plan import Engine, Plan, Scenario
from loadtests.scenarios import api_write

WATCHERS = 200
"""A region: each event is received so often there."""


def watchers(plan: Plan, count: int) -> list[Engine]:
    """`count` of them in every region."""
    return [
        Engine(
            name=f"watchers-{region}",
            module="loadtests.engine.realtime_watchers",
            spec=WatchersSpec(
                target=plan.target,
                part=plan.part(f"watchers-{region}"),
                region=region,
                watchers=count,
                warmup_s=plan.warmup_s,
                duration_s=plan.duration_s,
            ),
            region=region,
            part=plan.part(f"watchers-{region}"),
        )
        for region in plan.regions
    ]


SCENARIO = Scenario(
    name="realtime-watchers",
    help=f"{WATCHERS} watchers of the live feed a region (SSE) while projects are written: commit to receipt",
    unit="writes/s over all regions",
    rate=9.0,
    duration_s=60.0,
    warmup_s=5.0,
    generator=api_write.SCENARIO.generator,
    observers=lambda plan: watchers(plan, WATCHERS),
    per_region=True,
    follows_arrival=True,
    requests=True,
    audited=True,
)

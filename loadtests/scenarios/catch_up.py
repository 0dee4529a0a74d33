"""What an outage leaves: a backlog in the outbox, and how fast relay and consumers work it off. `--rate` and
`--duration` are those of the outage; two million events wait after 667 s at 3,000/s. Working them off may take
as long as that, and a minute."""

from __future__ import annotations

from loadtests.engine.catch_up import CatchUpSpec
from loadtests.expected import applied_hops
from loadtests.plan import Engine, Plan, Scenario
from reports.evidence.expected import spans_path

GRACE_S = 60.0
"""Working off an outage may take as long as the outage was, and this; what takes longer is not waited for."""


def _generator(plan: Plan, user: int) -> Engine:
    spec = CatchUpSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part("catch-up"),
        users=plan.users,
        events=round(plan.rate * plan.duration_s),
        within_s=plan.duration_s + GRACE_S,
    )
    return Engine(
        name="catch-up", module="loadtests.engine.catch_up", spec=spec, region=plan.regions[0], part=spec.part,
        offers=spec.events, keeps=[spans_path(plan.scenario)], finds=applied_hops(plan.scenario, plan.regions),
    )  # fmt: skip


SCENARIO = Scenario(
    name="catch-up",
    help="let the events of an outage pile up in the outbox, and time relay and all six consumers working them off",
    unit="events/s that came in and were not applied",
    rate=1_000.0,
    duration_s=100.0,
    warmup_s=0.0,
    generator=_generator,
)

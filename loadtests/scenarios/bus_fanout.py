"""Events at a rate, appended to the outbox, and how fast all six consumers have applied them in every region."""

from __future__ import annotations

from loadtests.engine.effect_watch import EffectWatchSpec
from loadtests.engine.outbox_feed import FeedSpec
from loadtests.expected import applied_hops
from loadtests.plan import Engine, Plan, Scenario
from reports.evidence.expected import failures_path, spans_path


def _generator(plan: Plan, user: int) -> Engine:
    name = f"feed-{user + 1}"
    spec = FeedSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        publisher=user + 1,
        rate=plan.rate / plan.users,
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
    )
    return Engine(
        name=name, module="loadtests.engine.outbox_feed", spec=spec, region=plan.regions[0], part=spec.part,
        offers=spec.rate * plan.duration_s, keeps=[failures_path(plan.scenario), spans_path(plan.scenario)],
    )  # fmt: skip


def _observers(plan: Plan) -> list[Engine]:
    spec = EffectWatchSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part("effects"),
        rate=plan.rate,
        users=plan.users,
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
    )
    return [
        Engine(
            name="effects", module="loadtests.engine.effect_watch", spec=spec, region=plan.regions[0], part=spec.part,
            finds=applied_hops(plan.scenario, plan.regions),
        )
    ]  # fmt: skip


SCENARIO = Scenario(
    name="bus-fanout",
    help="append events to the outbox, and time each until all six consumers in every region have applied it, once",
    unit="events/s",
    rate=1_250.0,
    duration_s=60.0,
    warmup_s=5.0,
    generator=_generator,
    observers=_observers,
)
"""Offers a quarter more than the gate asks for: what is late by a moment at the end decides nothing. What is applied
at most is found with a rate that cannot be held."""

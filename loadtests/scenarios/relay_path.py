"""Writes through the API, and how fast they come through outbox and relay into the stream."""

from __future__ import annotations

from loadtests.engine.stored_watch import StoredWatchSpec
from loadtests.plan import MAX_USERS, Engine, Plan, Scenario
from loadtests.scenarios import api_write


def _observers(plan: Plan) -> list[Engine]:
    spec = StoredWatchSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part("stored"),
        arrival=plan.arrival,
        warmup_s=plan.warmup_s,
        seeds=[plan.seed * MAX_USERS + user for user in range(plan.users)],
    )
    return [
        Engine(name="stored", module="loadtests.engine.stored_watch", spec=spec, region=plan.regions[0], part=spec.part)
    ]


SCENARIO = Scenario(
    name="relay-path",
    help="write through the API in every region, and time each event from its commit to its place in the stream",
    unit="writes/s over all regions",
    rate=60.0,
    duration_s=60.0,
    warmup_s=5.0,
    generator=api_write.SCENARIO.generator,
    observers=_observers,
    per_region=True,
    follows_arrival=True,
    requests=True,
    audited=True,
)

"""Stewards who write: new projects, and conditional changes of them, in every region, in an open loop."""

from __future__ import annotations

from loadtests.engine.api_write import ROW
from loadtests.engine.requests import RequestsSpec
from loadtests.scenarios import MAX_USERS, Engine, Plan, Scenario


def _generator(plan: Plan, user: int) -> Engine:
    name = f"writer-{user}"
    spec = RequestsSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        arrival=plan.arrival,
        user=user,
        users=plan.users,
        warmup_s=plan.warmup_s,
        seed=plan.seed * MAX_USERS + user,
        regions=plan.share(user),
    )
    return Engine(name=name, module="loadtests.engine.api_write", spec=spec, region=plan.share(user)[0])


SCENARIO = Scenario(
    name="api-write",
    help="create projects and change them with If-Match in every region, each acknowledged one looked for at every hop",
    rows=(ROW, "availability", "bus.exactly_once"),
    unit="requests/s over all regions",
    rate=60.0,
    duration_s=60.0,
    warmup_s=5.0,
    generator=_generator,
    per_region=True,
    arrivals=True,
    requests=True,
    audited=True,
)

"""Stewards who write: new projects, and conditional changes of them, in every region, in an open loop."""

from __future__ import annotations

from loadtests.engine import open_loop
from loadtests.plan import Engine, Plan, Scenario


def _generator(plan: Plan, user: int) -> Engine:
    return open_loop.planned(plan, user, f"writer-{user}", "loadtests.engine.api_write", ledger=True)


SCENARIO = Scenario(
    name="api-write",
    help="create projects and change them with If-Match in every region, each acknowledged one looked for at every hop",
    unit="requests/s over all regions",
    rate=60.0,
    duration_s=60.0,
    warmup_s=5.0,
    generator=_generator,
    per_region=True,
    follows_arrival=True,
    requests=True,
    audited=True,
)

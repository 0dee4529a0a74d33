"""Visitors who read: projects, regions and countries in every region, in an open loop. Beside them a client a region
reads and writes, and keeps a history of what it sees.
"""

from __future__ import annotations

from loadtests.engine import open_loop, sessions
from loadtests.plan import Engine, Plan, Scenario


def _generator(plan: Plan, user: int) -> Engine:
    return open_loop.planned(plan, user, f"reader-{user}", "loadtests.engine.api_load")


SCENARIO = Scenario(
    name="api-browse",
    help="read projects, regions and countries from every region at a fixed arrival rate",
    unit="requests/s over all regions",
    rate=300.0,
    duration_s=60.0,
    warmup_s=5.0,
    generator=_generator,
    per_region=True,
    follows_arrival=True,
    requests=True,
    observers=sessions.planned,
    audited=True,
)

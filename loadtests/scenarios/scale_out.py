"""A second process of the active region's API, started in the middle of a load of new visitors: how long until it
serves, and what it changes. How much that can be is the machine's matter: two cores have nothing left to give."""

from __future__ import annotations

from msgspec import structs

from loadtests.engine import open_loop
from loadtests.engine.scaler import ScalerSpec
from loadtests.plan import Engine, Plan, Scenario


def _generator(plan: Plan, user: int) -> Engine:
    here = structs.replace(plan, regions=plan.regions[:1])
    return open_loop.planned(here, user, f"visitors-{user}", "loadtests.engine.visitors")


def _observers(plan: Plan) -> list[Engine]:
    spec = ScalerSpec(
        target=plan.target,
        part=plan.part("scaler"),
        region=plan.regions[0],
        after_s=plan.warmup_s + plan.duration_s / 2,
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
    )
    return [Engine(name="scaler", module="loadtests.engine.scaler", spec=spec, region=plan.regions[0], part=spec.part)]


SCENARIO = Scenario(
    name="scale-out",
    help="start a second API process in one region while new visitors read there: how soon it serves, what it changes",
    unit="requests/s in one region",
    rate=120.0,
    duration_s=80.0,
    warmup_s=5.0,
    generator=_generator,
    observers=_observers,
    requests=True,
)

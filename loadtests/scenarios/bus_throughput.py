"""As many messages a second as the claim asks for, for as long as the row takes: how much of it does the bus take?

A machine whose bus takes less has a backlog then. What a message waits in it says nothing of a bus that is not
overloaded, so nothing is timed here; `bus-ingest` does that. A run that has both judges each row by its own load.
"""

from __future__ import annotations

import dataclasses

from msgspec import structs

from loadtests.engine import bus_subscriber
from loadtests.engine.bus_publisher import BusPublisherSpec
from loadtests.plan import Engine, Plan
from loadtests.scenarios import bus_ingest

_UNTIMED = "more is offered than a small machine takes, and a wait in a backlog is no latency: bus-ingest times it"


def _generator(plan: Plan, user: int) -> Engine:
    engine = bus_ingest.SCENARIO.generator(plan, user)
    assert isinstance(engine.spec, BusPublisherSpec)
    return structs.replace(engine, spec=structs.replace(engine.spec, untimed=_UNTIMED))


SCENARIO = dataclasses.replace(
    bus_ingest.SCENARIO,
    name="bus-throughput",
    help="publish as many numbered messages a second as the claim asks for, and see how many are stored in time",
    rate=100_000.0,
    duration_s=60.0,
    generator=_generator,
    observers=lambda plan: [bus_subscriber.planned(plan, late=_UNTIMED)],
)

"""Bulk messages into a replicated stream of their own, each acknowledged, each accounted for."""

from __future__ import annotations

import re

from loadtests.engine.bus_publisher import ROW, BusPublisherSpec
from loadtests.engine.bus_subscriber import DELIVERY_ROW, END_TO_END_ROW, BusSubscriberSpec
from loadtests.scenarios import Engine, Plan, Scenario

_BURST_S = 0.003
"""The distance of two bursts: bulk clients flush what has gathered (Kafka's linger.ms). Waking the brokers for every
single message took them about twice the CPU for the same 2,000 messages a second; on two cores that they share
with the generator, that alone made its schedule late. It is not the kernel's tick of 4 ms: bursts that keep step
with the tick are always or never there when it counts who is busy."""


_SINGLES_PER_S_MAX = 20_000.0
"""Above, messages go in fast-ingest batches: an acknowledgement of its own for each message would cost the servers and
the generator more than the message."""
_WINDOW = 16_384


def subject(plan: Plan) -> str:
    """Below which a run's messages go."""
    # A subject's token may not hold dots, spaces or wildcards.
    return "load." + re.sub(r"[^A-Za-z0-9_-]", "-", plan.run_id)


def _generator(plan: Plan, user: int) -> Engine:
    name = f"publisher-{user + 1}"
    fast = plan.rate > _SINGLES_PER_S_MAX
    spec = BusPublisherSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        subject=subject(plan),
        publisher=user + 1,
        rate=plan.rate / plan.users,
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
        offset_s=user * _BURST_S / plan.users,
        burst=max(1, round(plan.rate / plan.users * _BURST_S)),
        mode="fast" if fast else "singles",
        window=_WINDOW if fast else _WINDOW // 4,
    )
    return Engine(name=name, module="loadtests.engine.bus_publisher", spec=spec, region=plan.regions[0])


def _observers(plan: Plan) -> list[Engine]:
    spec = BusSubscriberSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part("subscriber"),
        subject=subject(plan),
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
    )
    return [Engine(name="subscriber", module="loadtests.engine.bus_subscriber", spec=spec, region=plan.regions[0])]


SCENARIO = Scenario(
    name="bus-ingest",
    help="publish numbered messages to an R3 file stream, each acknowledged, delivered and accounted for",
    rows=(ROW, DELIVERY_ROW, END_TO_END_ROW, "bus.exactly_once"),
    unit="messages/s",
    rate=2000.0,
    duration_s=30.0,
    warmup_s=5.0,
    generator=_generator,
    observers=_observers,
)

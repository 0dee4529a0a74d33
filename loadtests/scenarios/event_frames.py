"""Events coalesced into frames: many events in one message, each with its own number. What it shows is never a rate of
messages: its settings tell the framing beside every figure."""

from __future__ import annotations

from loadtests.engine.bus_publisher import ROW, BusPublisherSpec
from loadtests.engine.bus_subscriber import DELIVERY_ROW, END_TO_END_ROW, BusSubscriberSpec
from loadtests.scenarios import Engine, Plan, Scenario
from loadtests.scenarios.bus_ingest import subject

_BURST_S = 0.004
"""How long events are gathered: those of one such time go at once, in as few frames as they fill."""
_FRAME_EVENTS = 500
_EVENT_BYTES = 128
_WINDOW = 120_000


def _generator(plan: Plan, user: int) -> Engine:
    name = f"publisher-{user + 1}"
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
        mode="frames",
        batch=_FRAME_EVENTS,
        payload_bytes=_EVENT_BYTES,
        window=_WINDOW // plan.users,
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
    name="event-frames",
    help="publish numbered events in frames of up to 500 a message, each event delivered and accounted for",
    rows=(ROW, DELIVERY_ROW, END_TO_END_ROW, "bus.exactly_once"),
    unit="events/s",
    rate=300_000.0,
    duration_s=30.0,
    warmup_s=5.0,
    generator=_generator,
    observers=_observers,
)

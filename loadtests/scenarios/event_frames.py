"""Events coalesced into frames: many events in one message, each with its own number. What it shows is never a rate of
messages: its settings tell the framing beside every figure."""

from __future__ import annotations

from loadtests.engine import bus_publisher, bus_subscriber
from loadtests.plan import Engine, Plan, Scenario

_BURST_S = 0.005
"""How long events are gathered: those of one such time go at once, in as few frames as they fill. At the usual rate
they fill three; and it is not the kernel's tick of 4 ms, with which bursts would keep step."""
_FRAME_EVENTS = 500
_EVENT_BYTES = 128
_WINDOW = 120_000


def _generator(plan: Plan, user: int) -> Engine:
    return bus_publisher.planned(
        plan, user, burst_s=_BURST_S, mode="frames", batch=_FRAME_EVENTS, payload_bytes=_EVENT_BYTES,
        window=_WINDOW // plan.users,
    )  # fmt: skip


SCENARIO = Scenario(
    name="event-frames",
    help="publish numbered events in frames of up to 500 a message, each event delivered and accounted for",
    unit="events/s",
    rate=300_000.0,
    duration_s=30.0,
    warmup_s=5.0,
    generator=_generator,
    follows_arrival=True,
    observers=lambda plan: [bus_subscriber.planned(plan)],
)

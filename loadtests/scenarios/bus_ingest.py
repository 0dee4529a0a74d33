"""Bulk messages into a replicated stream of their own, each acknowledged, each accounted for."""

from __future__ import annotations

import msgspec

from loadtests.clients.publish_modes import ModeName
from loadtests.engine import bus_publisher, bus_subscriber
from loadtests.engine.bus_publisher import RATE_ROW
from loadtests.engine.load_stream import MAX_BYTES, MAX_MSGS
from loadtests.plan import Engine, Plan, Scenario

_SINGLES_BURST_S = 0.010
"""What a burst of singles gathers: bulk clients flush what has gathered (Kafka's linger.ms), and the wait for the
flush is a part of each message's latency. A burst costs three brokers 3 to 5 ms of CPU, whatever is in it: at 1,000
messages a second they took 0.9 to 1.1 cores with bursts of 3 ms and 0.4 to 0.5 with these, and on two cores that they
share with the generator the former alone made its schedule late."""
_BATCH_BURST_S = 0.003
"""The same for batches, whose size is bounded. It is not the kernel's tick of 4 ms: bursts that keep step with the tick
are always or never there when the kernel counts who is busy."""
_SINGLES_PER_S_MAX = 5_000.0
"""Above, messages go in fast-ingest batches: an acknowledgement of its own costs more than the message. At 20,000 a
second, with TLS and a sync before each acknowledgement, singles took the brokers 1.2 cores and the generator 0.4;
60,000 in batches took them 1.4 and 0.2."""
_WINDOW = 16_384
_LIVE_PER_S_MAX = 40_000.0
"""Above, the subscriber reads when the load is over: a live one takes the cores that the servers need. Beside three
brokers on two cores it brought the p99 of publishes from 29 to 93 ms at 100,000 a second; at 60,000 deliveries took
36 ms and the schedule was 4 ms late, so that they could not be judged. A load that is longer than the stream holds it
has to be read live."""
_STORED_BYTES = 256
"""What a message takes in the stream, at most: payload, subject, and what goes with them."""


def _generator(plan: Plan, user: int) -> Engine:
    by_rate: ModeName = "fast" if plan.arrival.peak_rate > _SINGLES_PER_S_MAX else "singles"
    mode = by_rate if plan.mode is None else msgspec.convert(plan.mode, ModeName)
    window = _WINDOW // 4 if mode == "singles" else _WINDOW
    burst_s = _SINGLES_BURST_S if mode == "singles" else _BATCH_BURST_S
    return bus_publisher.planned(plan, user, burst_s=burst_s, mode=mode, window=window)


def _observers(plan: Plan) -> list[Engine]:
    total = plan.rate * (plan.warmup_s + plan.duration_s)
    held = total * _STORED_BYTES <= MAX_BYTES and total <= MAX_MSGS
    if plan.arrival.peak_rate <= _LIVE_PER_S_MAX or not held:
        return [bus_subscriber.planned(plan)]
    return [
        bus_subscriber.planned(
            plan, late=f"read when the load is over, as always above {_LIVE_PER_S_MAX:,.0f} messages/s"
        )
    ]


SCENARIO = Scenario(
    name="bus-ingest",
    help="publish numbered messages to an R3 file stream, each acknowledged, delivered and accounted for",
    unit="messages/s",
    rate=2000.0,
    duration_s=30.0,
    warmup_s=5.0,
    generator=_generator,
    follows_arrival=True,
    modes=("singles", "atomic", "fast"),
    calibrates=RATE_ROW,
    observers=_observers,
)

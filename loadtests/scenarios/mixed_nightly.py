"""What a busy day is made of, all at once: visitors read, stewards write, watchers of the feed see it, and bulk
messages go through the same brokers. Of the requests nine in ten are reads; there are two messages to each request.

The messages are a load of their own, with a record and a ledger beside the requests'. Their delivery is shown and not
judged here: its gate of 10 ms asks for a generator that is never later than 1 ms, and this one shares its cores with
four other loads. `bus-ingest` judges it. Heartbeats beside it all measure how far the replicas are behind, and a client
a region keeps a history of what it reads and writes.
"""

from __future__ import annotations

from msgspec import structs

from loadtests.arrivals.arrival_process import even
from loadtests.engine import bus_subscriber, sessions
from loadtests.engine.heartbeats import HeartbeatSpec
from loadtests.plan import Engine, Plan, Scenario
from loadtests.scenarios import api_browse, api_write, bus_ingest, realtime_watchers

READ_SHARE = 0.9
MESSAGES_PER_REQUEST = 2.0
WATCHERS = 20
"""A region."""
BUS = "bus"
_UNTIMED = "its generator shares its cores with four other loads, and cannot be on time to the millisecond"
SHARES = (
    f"{READ_SHARE:.0%} reads, {1 - READ_SHARE:.0%} writes, {MESSAGES_PER_REQUEST:g} bus messages to each request, "
    f"{WATCHERS} watchers a region"
)


def _at(plan: Plan, rate: float) -> Plan:
    return structs.replace(plan, rate=rate, arrival=even(rate, plan.duration_s))


def generator(plan: Plan, user: int) -> Engine:
    return api_browse.SCENARIO.generator(_at(plan, plan.rate * READ_SHARE), user)


def observers(plan: Plan) -> list[Engine]:
    """Everything that runs beside the readers; all of it keeps the same time."""
    writes, bus = _at(plan, plan.rate * (1 - READ_SHARE)), plan.beside(BUS, plan.rate * MESSAGES_PER_REQUEST)
    one_publisher = structs.replace(bus, users=1)
    return [
        bus_subscriber.planned(bus, untimed=_UNTIMED),
        *realtime_watchers.watchers(plan, WATCHERS),
        *(api_write.SCENARIO.generator(writes, user) for user in range(plan.users)),
        bus_ingest.SCENARIO.generator(one_publisher, 0),
        *sessions.planned(plan),
        Engine(
            name="heartbeats",
            module="loadtests.engine.heartbeats",
            spec=HeartbeatSpec(
                target=plan.target, part=plan.part("heartbeats"), warmup_s=plan.warmup_s, duration_s=plan.duration_s
            ),
            region=plan.regions[0],
            part=plan.part("heartbeats"),
        ),
    ]


SCENARIO = Scenario(
    name="mixed-nightly",
    help=f"all at once: {SHARES}",
    unit="requests/s over all regions",
    # At 150 two cores were busy 97% of the time, most of it with the brokers, and the generator waited for one.
    rate=60.0,
    # A thousand writes in every region take 500 s.
    duration_s=540.0,
    warmup_s=5.0,
    generator=generator,
    observers=observers,
    per_region=True,
    requests=True,
    beside=(BUS,),
    audited=True,
)

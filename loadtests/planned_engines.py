"""The engine processes that several scenarios start: one that requests, one that publishes, one that checks."""

from __future__ import annotations

import re

from loadtests.clients.publish_modes import ModeName
from loadtests.engine.bus_publisher import BusPublisherSpec
from loadtests.engine.bus_subscriber import BusSubscriberSpec
from loadtests.engine.requests import RequestsSpec
from loadtests.plan import MAX_USERS, Engine, Plan


def requester(plan: Plan, user: int, name: str, module: str) -> Engine:
    """User `user`'s share of the requests, made by `module` from inside its region."""
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
    return Engine(name=name, module=module, spec=spec, region=plan.share(user)[0])


def publisher(
    plan: Plan, user: int, *, burst_s: float, mode: ModeName, window: int, batch: int = 500, payload_bytes: int = 128
) -> Engine:
    """User `user`'s share of the messages, in bursts of what gathers in `burst_s`; the others as BusPublisherSpec's."""
    name = f"publisher-{user + 1}"
    spec = BusPublisherSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        subject=subject(plan),
        publisher=user + 1,
        users=plan.users,
        arrival=plan.arrival,
        warmup_s=plan.warmup_s,
        seed=plan.seed * MAX_USERS + user,
        offset_s=user * burst_s / plan.users,
        burst=max(1, round(plan.rate / plan.users * burst_s)),
        mode=mode,
        batch=batch,
        payload_bytes=payload_bytes,
        window=window,
    )
    return Engine(name=name, module="loadtests.engine.bus_publisher", spec=spec, region=plan.regions[0])


_READ_PER_S_MIN = 80_000.0
"""What a subscriber reads at least of a load that is over."""
_CATCH_UP_S, _CATCH_UP_MOST_S = 30.0, 100.0


def subscriber(
    plan: Plan, *, late: str | None = None, module: str = "loadtests.engine.bus_subscriber"
) -> Engine:  # fmt: skip
    """Who reads all that is published, and checks every number; `late` says why it does so when the load is over."""
    total = plan.rate * (plan.warmup_s + plan.duration_s)
    catch_up_s = min(_CATCH_UP_MOST_S, _CATCH_UP_S + total / _READ_PER_S_MIN) if late else _CATCH_UP_S
    spec = BusSubscriberSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part("subscriber"),
        subject=subject(plan),
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
        catch_up_s=catch_up_s,
        late=late,
    )
    return Engine(name="subscriber", module=module, spec=spec, region=plan.regions[0])


def subject(plan: Plan) -> str:
    """Below which a run's messages go."""
    # A subject's token may not hold dots, spaces or wildcards.
    return "load." + re.sub(r"[^A-Za-z0-9_-]", "-", plan.run_id)

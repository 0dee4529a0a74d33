"""As many connections to the bus as the machine allows, opened at a fixed rate and held, while messages flow."""

from __future__ import annotations

from pathlib import Path

from infra import target as targets
from infra.machine import cgroup
from loadtests.engine import bus_subscriber, connection_limits
from loadtests.engine.connection_holder import ConnectionHolderSpec
from loadtests.plan import Engine, Plan, Scenario
from loadtests.scenarios import bus_ingest

WANTED = 65_000
"""The seed's claim for a region."""
_OPENED_PER_S_AND_CORE = 40.0
"""A connection over TLS 1.3 with certificates of both sides takes 2.5 ms of CPU in all. At 150 a second and core, with
everything on one machine, nothing was left: messages waited for a core, and the generator with them."""
_HELD_S = 20.0
"""So long all of them are there at once, at the end of the measured window; in a short run a third of it."""

_UNTIMED = "opening connections takes the cores that its generator needs to be on time to the millisecond"


def _observers(plan: Plan) -> list[Engine]:
    held_s = min(_HELD_S, plan.duration_s / 3)
    per_s = _OPENED_PER_S_AND_CORE * cgroup.cores()
    servers = max(1, len(targets.read(Path(plan.target)).nats_monitor))
    allowed = connection_limits.allowed(
        WANTED,
        connection_limits.machine(plan.run_id, servers),
        per_s=per_s,
        opening_s=plan.warmup_s + plan.duration_s - held_s,
    )
    return [
        bus_subscriber.planned(plan, untimed=_UNTIMED),
        *(_holder(plan, allowed, per_s, held_s, one) for one in range(allowed.holders)),
    ]


def _holder(
    plan: Plan, allowed: connection_limits.Allowed, per_s: float, held_s: float, one: int
) -> Engine:  # fmt: skip
    name = f"holder-{one + 1}"
    spec = ConnectionHolderSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        name=name,
        connections=connection_limits.shares(allowed.connections, allowed.holders)[one],
        per_s=per_s / allowed.holders,
        limited_by=allowed.limited_by,
        asks=one == 0,
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
        held_s=held_s,
        offset_s=one / per_s,
    )
    # Where the bus is: a way into the region would be one more thing that has to hold them.
    return Engine(
        name=name, module="loadtests.engine.connection_holder", spec=spec, region=plan.regions[0], part=spec.part,
        keeps=[f"load/connections/{plan.scenario}.{name}.json"], sure=one == 0,
    )  # fmt: skip


SCENARIO = Scenario(
    name="connection-storm",
    help=f"open {WANTED:,} connections to the bus, or all that the machine allows, and hold them while messages flow",
    unit="messages/s",
    rate=1000.0,
    # In which two cores open all of them.
    duration_s=840.0,
    warmup_s=5.0,
    generator=bus_ingest.SCENARIO.generator,
    observers=_observers,
)

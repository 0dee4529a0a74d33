"""What is possible, before anything runs: floors, bounds and limits, from one topology, the options and the machine.

`check` is pure; `of_system` and `planned` gather its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from infra.fabric.protocol import Fabric
from infra.parts import PARTS, postgres
from infra.preflight import capacity, distance, faults
from infra.preflight.claims import Known, possibilities
from infra.preflight.inputs import Claim, Inputs, machine
from infra.topology.model import Topology
from infra.topology.options import Options
from reports.evidence import Preflight
from system import wire

__all__ = ["Claim", "Inputs", "check", "of_system", "planned"]


def check(inputs: Inputs, claims: Iterable[Claim]) -> Preflight:
    """The whole preflight, with a verdict on every claim."""
    regions = distance.region_floors(inputs)
    bounds = faults.fault_bounds(inputs)
    quorums = capacity.quorums(inputs)
    return Preflight(
        size=inputs.size,
        bus=inputs.options.bus,
        durability=inputs.options.durability,
        options=msgspec.to_builtins(inputs.options),
        topology_sha256=inputs.topology.sha256,
        formulas=distance.FORMULAS,
        regions=regions,
        faults=bounds,
        power=faults.power_losses(inputs),
        streams=capacity.stream_covers(inputs),
        quorums=quorums,
        resources=capacity.resources(inputs),
        claims=possibilities(Known(inputs, regions, bounds, quorums), claims),
        notes=faults.notes(inputs),
    )


def planned(
    topology: Topology, size: str, options: Options, checkout: Path, claims: Iterable[Claim], run_id: str | None = None
) -> Preflight:
    """The preflight of a system that could be started here, or of the system `run_id` that was.
    TopologyError for an unknown kind of part."""
    topology.check_kinds(PARTS)
    inputs = Inputs(
        topology=topology,
        size=size,
        options=options,
        timings=postgres.timings(options),
        parameters=postgres.parameters(),
        streams=wire.STREAMS,
        machine=machine(checkout, run_id),
    )
    return check(inputs, claims)


def of_system(system: Fabric, checkout: Path, claims: Iterable[Claim]) -> Preflight:
    """The preflight of a system as it is laid out."""
    return planned(system.place.topology, system.site.size, system.site.options, checkout, claims, system.site.run_id)

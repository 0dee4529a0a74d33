"""Chaos Toolkit actions and probes for the loss of a whole region.

Every part of it is killed at one instant: to the others that is the same as a region whose power is gone. What an
operator does then is an action of its own (`infra.operations.promotion`), so that the clocks hold the time that it
takes. The region's own probes say nothing about the recovery of the others: it is lost, and so are they while it is.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration, Secrets

from chaos import running
from chaos.faults.process.probes import event_goes_through_at
from chaos.faults.proving import fault_of, prove
from chaos.handover import Facts, Fault, HandedBack
from chaos.journal import RETURN_REGION, Journal
from infra.fabric.process.system import StartError, System
from infra.machine.waiting import until
from infra.operations import promotion
from infra.operations.promotion import NotTakenOver
from infra.parts import nats, postgres
from infra.site import bus_layout

__all__ = [
    "bring_region_back",
    "bus_misses_region",
    "hand_back",
    "kill_region",
    "region_is_gone",
    "region_leads",
    "region_works",
    "take_over",
]


def kill_region(
    experiment: str, region: str, configuration: Configuration = None, secrets: Secrets = None
) -> dict[str, Any]:
    """SIGKILL every part of a region at one instant; they stay dead until they are brought back."""
    system = running.system()
    active = bus_layout.active_region(system.place)
    if region != active:
        raise ActivityFailed(f"expected {region} to be the active region, found {active}: hand back first")
    node = postgres.primary(system.place)
    if node is None or node.region != region:
        raise ActivityFailed(f"expected PostgreSQL's primary in {region}, found {node and node.name}")
    timeline = int(postgres.member_state(system.place, node).get("timeline", 0))
    names = [name for name, part in system.parts.items() if part.node.region == region and system.alive(name)]
    Journal(system.site.path).begin(experiment, RETURN_REGION, {"region": region})
    at_ns = time.monotonic_ns()
    hit = system.kill_all(names)
    target = f"region {region}: {len(names)} parts, {len(hit)} processes"
    fault = Fault(
        experiment=experiment,
        at_ns=at_ns,
        part=region,
        target=target,
        before={"timeline": timeline},
        lost_region=region,
    )
    Facts(system.site.path).add(fault)
    return {"target": target, "at_ns": at_ns, "parts": names}


def take_over(experiment: str, region: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """What the operator does: make another region the active one."""
    system, _ = fault_of(experiment)
    try:
        promotion.take_over(system, region)
    except NotTakenOver as error:
        raise ActivityFailed(str(error)) from error
    return True


def bring_region_back(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Start the lost region, following the one that took over."""
    system, fault = fault_of(experiment)
    try:
        promotion.bring_back(system, fault.part)
    except StartError as error:
        raise ActivityFailed(str(error)) from error
    return True


def hand_back(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Make the region that was lost the active one again. That is planned, and no recovery: the clocks end here; that
    nothing is lost by it the ledger shows."""
    system, fault = fault_of(experiment)
    Facts(system.site.path).add(HandedBack(experiment=experiment, at_ns=time.monotonic_ns()))
    return take_over(experiment, fault.part)


def region_is_gone(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Prove that no part of the region has a process, and none of its ports answers."""
    system, fault = fault_of(experiment)
    parts = [part for part in system.parts.values() if part.node.region == fault.part]

    def look() -> str | None:
        alive = [part.name for part in parts if not system.is_gone(part.name)]
        return None if alive else f"none of {len(parts)} parts"

    prove(system, experiment, f"processes of region {fault.part}", "none", until(look, 10), "some are left")
    ends = [system.place.outside(part.node, port) for part in parts for port in part.port_names]

    def silent() -> str | None:
        return None if any(_greets(end) for end in ends) else f"none of {len(ends)} ports"

    return prove(system, experiment, f"ports of region {fault.part} that answer", "none", until(silent, 10), "some do")


def bus_misses_region(
    experiment: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove by what other regions' bus nodes say that those of the lost region are gone: no leaf connection is left
    where they are mirrored, no route where the bus is stretched."""
    system, fault = fault_of(experiment)
    kind = bus_layout.MIRROR if bus_layout.mirrored(system.place) else bus_layout.BUS
    others = [node for node in system.place.nodes(kind) if node.region != fault.part]

    def look() -> str | None:
        told = []
        for node in others:
            names = _joined_to(system, node.name)
            if names is None or any(system.parts[name].node.region == fault.part for name in names):
                return None
            told.append(node.name)
        return f"none, say {', '.join(told)}"

    what = f"connections of the bus to {fault.part}, as the other regions see them"
    return prove(system, experiment, what, "none", until(look, within_s))


def region_leads(
    experiment: str, region: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove that a member in another region leads PostgreSQL on a higher timeline."""
    system, fault = fault_of(experiment)

    def look() -> str | None:
        node = postgres.primary(system.place)
        if node is None or node.region != region:
            return None
        timeline = int(postgres.member_state(system.place, node).get("timeline", 0))
        return f"{node.name} on timeline {timeline}" if timeline > fault.before["timeline"] else None

    expected = f"a member in {region} on a timeline above {fault.before['timeline']}"
    return prove(system, experiment, "PostgreSQL's primary", expected, until(look, within_s))


def region_works(
    experiment: str, region: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Whether a write at a region's own API reaches analytics."""
    system, _ = fault_of(experiment)
    deadline = time.monotonic() + within_s
    said = "nothing"
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            if event_goes_through_at(system, region, left_s):
                return True
            said = "its event did not arrive"
        except ActivityFailed as error:
            said = str(error)
            time.sleep(0.2)
    raise ActivityFailed(f"expected a write in {region} to reach analytics within {within_s} s: {said}")


def _joined_to(system: System, name: str) -> list[str] | None:
    """The bus nodes that a node is connected to, by its own word; None if it does not answer."""
    node = system.parts[name].node
    leafs, routes = nats.monitor(system.place, node, "/leafz"), nats.monitor(system.place, node, "/routez")
    if leafs is None or routes is None:
        return None
    found = [leaf.get("name") for leaf in leafs.get("leafs") or []]
    found += [route.get("remote_name") for route in routes.get("routes") or []]
    return [other for other in found if other in system.parts]


def _greets(end: str) -> bool:
    """Whether anybody listens there. Where regions are apart a forwarder takes the connection, and ends it when it
    finds nobody."""
    host, _, port = end.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as link:
            link.settimeout(1)
            return link.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False

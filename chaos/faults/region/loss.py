"""A whole region is lost: every part of it is killed at one instant, as when its power is gone.

What an operator does then is an action of its own (`infra.operations.promotion`), so that the clocks hold the time that
it takes. Probes from the lost region are left out of the recovery clocks: they are lost with it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.registry import HealError, undo
from chaos.faults.steady_state import event_goes_through_at
from chaos.handover import HandedBack
from infra.fabric.protocol import Fabric, StartError
from infra.machine.waiting import until
from infra.operations import promotion
from infra.operations.promotion import NotTakenOver
from infra.parts import nats, postgres
from infra.site import bus_layout

__all__ = [
    "bring_region_back",
    "bus_misses_region",
    "hand_back",
    "kill_active_region",
    "region_is_gone",
    "successor_leads",
    "successor_works",
    "take_over",
]


@undo("bring the region back")
def return_region(system: Fabric, arguments: Mapping[str, str]) -> None:
    """The undo of the loss of a region: it is started, follows the one that took over, and is the active one again."""
    region = arguments["region"]
    try:
        promotion.bring_back(system, region)
        if bus_layout.active_region(system.place) != region:
            promotion.take_over(system, region)
    except (StartError, NotTakenOver) as error:
        raise HealError(str(error)) from error


def kill_active_region(configuration: Configuration) -> dict[str, Any]:
    """Kill every part of the active region at one instant; they stay dead until they are brought back."""
    activity = Activity(configuration)
    system, region = activity.system, roles.active_region(activity.system)
    roles.successor(system, region)
    timeline = roles.primary(system).timeline
    names = [name for name, part in system.parts.items() if part.node.region == region and system.alive(name)]
    activity.prepare(return_region, region=region)
    at_ns = time.monotonic_ns()
    hit = system.kill(*names)
    target = f"region {region}: {len(names)} parts, {hit} processes"
    return activity.injected(at_ns, region, target, {"timeline": timeline}, lost_region=region)


def take_over(configuration: Configuration) -> bool:
    """What the operator does: make another region the active one."""
    activity = Activity(configuration)
    _make_active(activity.system, roles.successor(activity.system, activity.fault().part))
    return True


def bring_region_back(configuration: Configuration) -> bool:
    """Start the lost region, following the one that took over."""
    activity = Activity(configuration)
    try:
        promotion.bring_back(activity.system, activity.fault().part)
    except StartError as error:
        raise ActivityFailed(str(error)) from error
    return True


def hand_back(configuration: Configuration) -> bool:
    """Make the region that was lost the active one again. That is planned, and no recovery: the clocks end here; that
    nothing is lost by it the ledger shows."""
    activity = Activity(configuration)
    activity.add(HandedBack(experiment=activity.experiment, at_ns=time.monotonic_ns()))
    _make_active(activity.system, activity.fault().part)
    return True


def _make_active(system: Fabric, region: str) -> None:
    try:
        promotion.take_over(system, region)
    except NotTakenOver as error:
        raise ActivityFailed(str(error)) from error


def region_is_gone(configuration: Configuration) -> bool:
    """Prove that no part of the region has a process, and none of its ports answers."""
    activity = Activity(configuration)
    system, fault = activity.system, activity.fault()
    parts = [part for part in system.parts.values() if part.node.region == fault.part]

    def look() -> str | None:
        alive = [part.name for part in parts if not system.is_gone(part.name)]
        return None if alive else f"none of {len(parts)} parts"

    activity.prove(f"processes of region {fault.part}", "none", until(look, 10), "some are left")
    ends = [system.place.outside(part.node, port) for part in parts for port in part.port_names]

    def silent() -> str | None:
        return None if any(_greets(end) for end in ends) else f"none of {len(ends)} ports"

    return activity.prove(f"ports of region {fault.part} that answer", "none", until(silent, 10), "some do")


def bus_misses_region(within_s: int, configuration: Configuration) -> bool:
    """Prove by what other regions' bus nodes say that those of the lost region are gone: no leaf connection is left
    where they are mirrored, no route where the bus is stretched."""
    activity = Activity(configuration)
    system, fault = activity.system, activity.fault()
    kind = bus_layout.MIRROR if bus_layout.mirrored(system.place) else bus_layout.BUS
    others = [node for node in system.place.nodes(kind) if node.region != fault.part]

    def look() -> str | None:
        say_so = []
        for node in others:
            names = _joined_to(system, node.name)
            if names is None or any(system.parts[name].node.region == fault.part for name in names):
                return None
            say_so.append(node.name)
        return f"none, say {', '.join(say_so)}"

    what = f"connections of the bus to {fault.part}, as the other regions see them"
    return activity.prove(what, "none", until(look, within_s))


def successor_leads(within_s: int, configuration: Configuration) -> bool:
    """Prove that a member in the region that took over leads PostgreSQL on a higher timeline."""
    activity = Activity(configuration)
    system, fault = activity.system, activity.fault()
    region = roles.successor(system, fault.part)

    def look() -> str | None:
        node = postgres.primary(system.place)
        if node is None or node.region != region:
            return None
        timeline = int(postgres.member_state(system.place, node).get("timeline", 0))
        return f"{node.name} on timeline {timeline}" if timeline > fault.before["timeline"] else None

    expected = f"a member in {region} on a timeline above {fault.before['timeline']}"
    return activity.prove("PostgreSQL's primary", expected, until(look, within_s))


def successor_works(within_s: int, configuration: Configuration) -> bool:
    """Whether a write at the API of the region that took over reaches analytics."""
    activity = Activity(configuration)
    region = roles.successor(activity.system, activity.fault().part)
    deadline = time.monotonic() + within_s
    found = "nothing"
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            if event_goes_through_at(activity.system, region, left_s):
                return True
            found = "its event did not arrive"
        except ActivityFailed as error:
            found = str(error)
            time.sleep(0.2)
    raise ActivityFailed(f"expected a write in {region} to reach analytics within {within_s} s: {found}")


def _joined_to(system: Fabric, name: str) -> list[str] | None:
    """The bus nodes that a node is connected to, by its own word; None if it does not answer."""
    node = system.parts[name].node
    leafs, routes = nats.monitor(system.place, node, "/leafz"), nats.monitor(system.place, node, "/routez")
    if leafs is None or routes is None:
        return None
    found = [leaf.get("name") for leaf in leafs.get("leafs") or []]
    found += [route.get("remote_name") for route in routes.get("routes") or []]
    return [other for other in found if other in system.parts]


def _greets(end: str) -> bool:
    """Whether a program listens there. Where regions are apart a forwarder takes the connection, and ends it when
    nothing listens behind it."""
    host, _, port = end.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as link:
            link.settimeout(1)
            return link.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False

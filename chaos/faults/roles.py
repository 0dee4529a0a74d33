"""Targets by their role, as things stand when the fault is injected: an experiment names no region and no part.

Each function raises ActivityFailed if the running system has nothing in that role; then nothing is injected.
"""

from __future__ import annotations

from typing import NamedTuple

from chaoslib.exceptions import ActivityFailed

from infra.fabric.protocol import Fabric
from infra.parts import etcd, gateway, nats, postgres
from infra.site import bus_layout
from infra.topology.model import Node
from system.wire import observer
from system.wire.observer import ConsumerInstance


class Primary(NamedTuple):
    """PostgreSQL's primary, and the timeline that it writes on."""

    node: Node
    timeline: int


def primary(system: Fabric) -> Primary:
    node = postgres.primary(system.place)
    if node is None:
        raise ActivityFailed("expected PostgreSQL to have a primary, found none: wait until the cluster has one")
    return Primary(node, int(postgres.member_state(system.place, node).get("timeline", 0)))


def stream_leader(system: Fabric, stream: str) -> Node:
    state = nats.stream_states(system.place).get(stream)
    if state is None:
        raise ActivityFailed(f"expected {stream} to have a leader, found none: wait until the stream has one")
    return system.parts[state["leader"]].node


def beside_database(system: Fabric, kind: str) -> Node:
    """The part of a kind that works in the primary's region, or the nearest to it that there is."""
    here = primary(system).node.region
    working = [node for node in system.place.nodes(kind) if bus_layout.works(system.place, node)]
    if not working:
        raise ActivityFailed(f"expected a part of kind {kind} that works, found none among {', '.join(system.parts)}")
    return min(working, key=lambda node: system.place.topology.distance_ms(here, node.region))


def durable(consumer: Node) -> str:
    """What the bus calls the consumer that a part is."""
    try:
        declared = observer.consumer(consumer.kind)
    except ValueError as error:
        raise ActivityFailed(f"expected {consumer.name} to be a consumer of the bus: {error}") from error
    return ConsumerInstance(declared.name, consumer.region if declared.per_region else None).durable


def link(system: Fabric, role: str) -> tuple[str, str]:
    """Two regions. `primary-etcd`: the primary's, and the nearest other one with an etcd member and a replica;
    `primary-farthest`: the primary's, and the one farthest from it; `gateways`: those with a gateway each."""
    here = primary(system).node.region
    if role == "gateways":
        regions = [node.region for node in system.place.nodes(gateway.Gateway.kind)]
        if len(regions) != 2:
            raise ActivityFailed(f"expected two gateways, found {len(regions)}: start a system with --size full")
        return regions[0], regions[1]
    others = [region for region in system.place.topology.running_regions(system.site.size) if region != here]
    if role == "primary-etcd":
        voting = {node.region for node in system.place.nodes(etcd.Etcd.kind)}
        replicated = {node.region for node in system.place.nodes(postgres.Postgres.kind)}
        if here not in voting:
            raise ActivityFailed(f"expected an etcd member in the primary's region {here}, found none")
        others = [region for region in others if region in voting & replicated]
    elif role != "primary-farthest":
        raise ActivityFailed(f"expected the role primary-etcd, primary-farthest or gateways, found {role!r}")
    if not others:
        raise ActivityFailed(f"expected another region than {here} for the role {role}, found none")
    choose = max if role == "primary-farthest" else min
    return here, choose(others, key=lambda region: system.place.topology.distance_ms(here, region))


def replica(system: Fabric, region: str) -> Node:
    """A region's own member of PostgreSQL."""
    for node in system.place.nodes(postgres.Postgres.kind):
        if node.region == region:
            return node
    raise ActivityFailed(f"expected a replica of PostgreSQL in {region}, found none")


def farthest_replica(system: Fabric) -> Node:
    """The member of PostgreSQL that is farthest from the primary."""
    here = primary(system).node
    others = [node for node in system.place.nodes(postgres.Postgres.kind) if node.name != here.name]
    if not others:
        raise ActivityFailed("expected a replica of PostgreSQL, found none")
    return max(others, key=lambda node: system.place.topology.distance_ms(here.region, node.region))


def bystander(system: Fabric, ends: tuple[str, str]) -> Node:
    """A replica in neither of two regions."""
    for node in system.place.nodes(postgres.Postgres.kind):
        if node.region not in ends:
            return node
    raise ActivityFailed(f"expected a replica outside {' and '.join(ends)}, found none")


def active_region(system: Fabric) -> str:
    """The region that writes and publishes: the database's primary has to be there, too."""
    active = bus_layout.active_region(system.place)
    here = primary(system).node.region
    if here != active:
        raise ActivityFailed(f"expected PostgreSQL's primary in the active region {active}, found it in {here}")
    return active


def successor(system: Fabric, lost: str) -> str:
    """The region that can take over from a lost one: where parts stand by."""
    regions = {node.region for node in system.place.all_nodes() if node.standby} - {lost}
    if not regions:
        raise ActivityFailed(
            f"expected a region that can take over from {lost}, found none: start one with --size full"
        )
    return min(regions, key=lambda region: system.place.topology.distance_ms(lost, region))

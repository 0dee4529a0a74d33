"""What distance alone takes: the floors of reads, writes, replication and the bus in every region.

Round trips are the topology's; one way is half of a round trip; within a region distance is zero. What a floor leaves
out (handshakes, queueing, disks, the work itself) can only add to it.
"""

from __future__ import annotations

from collections.abc import Callable

from infra.preflight.inputs import BUS, DATABASE, REPLICAS, Inputs
from infra.topology.model import Node
from reports.evidence import RegionFloor

DURABILITIES = ("async", "standby", "any-1")
FORMULAS = {
    "read_ms": "round trip to the nearest PostgreSQL member",
    "write_ms": "round trip to the primary + its round trip to the member that the commit waits for: none (async), its "
    "region's standby (standby), the nearest other member (any-1)",
    "lag_ms": "half the round trip from the primary to the region's member",
    "publish_ms": "round trip to the stream's leader + the leader's round trip to the replica that completes 2 of 3, "
    "with the leader where that is least",
    "delivery_ms": "the leader's round trip to the replica that completes 2 of 3 (its timestamp is from before) + half "
    "the round trip to the consumer",
    "realtime_ms": "half the round trip from the relay to the leader + the leader's round trip to the replica that "
    "completes 2 of 3 + half the round trip to the region",
}


def region_floors(inputs: Inputs) -> list[RegionFloor]:
    """The floors of every region of the size."""
    return [_region(inputs, region) for region in inputs.regions]


def quorum_ms(inputs: Inputs, leader: Node, layout: str) -> float:
    """How long a leader waits until a majority of a stream's copies, its own among them, has a message."""
    others = sorted(inputs.rtt_ms(leader.region, node.region) for node in inputs.nodes(BUS, layout) if node != leader)
    acks = REPLICAS // 2
    return others[min(acks, len(others)) - 1] if others else 0.0


def commit_wait_ms(inputs: Inputs, durability: str) -> float:
    """How long distance makes a commit wait on the primary."""
    primary, *others = inputs.nodes(DATABASE)
    if durability == "async" or not others:
        return 0.0
    asked = others[:1] if durability == "standby" else others
    return min(inputs.rtt_ms(primary.region, node.region) for node in asked)


def _region(inputs: Inputs, region: str) -> RegionFloor:
    members = inputs.nodes(DATABASE)
    way_ms = inputs.rtt_ms(region, inputs.primary.region)
    relays = inputs.nodes("relay")
    has_own = any(node.region == region for node in members)

    def over_layouts(floor: Callable[[Node, float], float]) -> dict[str, float]:
        """Layout -> the least over all nodes that may lead the stream. `floor` takes a leader, and how many ms it waits
        for its quorum."""
        return {
            layout: min(floor(leader, quorum_ms(inputs, leader, layout)) for leader in inputs.nodes(BUS, layout))
            for layout in inputs.layouts
            if inputs.nodes(BUS, layout)
        }

    def one_way_ms(one: str, other: str) -> float:
        return inputs.rtt_ms(one, other) / 2

    return RegionFloor(
        region=region,
        read_ms=min(inputs.rtt_ms(region, node.region) for node in members),
        write_ms={name: way_ms + commit_wait_ms(inputs, name) for name in DURABILITIES},
        lag_ms=way_ms / 2 if has_own else None,
        publish_ms=over_layouts(lambda leader, wait_ms: inputs.rtt_ms(region, leader.region) + wait_ms),
        delivery_ms=over_layouts(lambda leader, wait_ms: wait_ms + one_way_ms(leader.region, region)),
        realtime_ms=over_layouts(
            lambda leader, wait_ms: (
                min(one_way_ms(relay.region, leader.region) for relay in relays)
                + wait_ms
                + one_way_ms(leader.region, region)
            )
        )
        if relays
        else {},
    )

"""Which region is active, and which nodes are the bus because of that.

The active region runs the parts that a system has once: the relay, and three of the consumers. If other regions keep
mirrors, the bus is in the active region, too. The active region is written in the system's home, so that every process
that starts a part later knows it.

Only nodes of the bus serve clients: a mirror takes no publishes before it is promoted, and an old bus that comes back
is stale. So a client may name all nodes, and is let in by one that is the bus.
"""

from __future__ import annotations

from infra.site.site import Place, Reach
from infra.topology.model import Node

BUS, MIRROR = "nats", "mirror"
_FILE = "active-region"


def active_region(place: Place) -> str:
    """The region that is active now. ValueError if the topology has none."""
    try:
        return (place.site.path / _FILE).read_text()
    except FileNotFoundError:
        return _first_active(place)


def activate(place: Place, region: str) -> None:
    """Record that `region` is active from now on."""
    temporary = place.site.path / f"{_FILE}.new"
    temporary.write_text(region)
    temporary.replace(place.site.path / _FILE)


def activated_at(place: Place) -> float:
    """When the active region took over, in seconds since the epoch; 0 if it has been active from the start."""
    try:
        return (place.site.path / _FILE).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def works(place: Place, node: Node) -> bool:
    """Whether a node is meant to run; of a kind with standbys, only the node in the active region is."""
    kinds = {other.kind for other in place.all_nodes() if other.standby}
    return node.kind not in kinds or node.region == active_region(place)


def mirrored(place: Place) -> bool:
    """Whether regions keep mirrors of the bus, one of which can be made the bus."""
    return bool(place.nodes(MIRROR))


def of_region(place: Place, region: str) -> list[Node]:
    """The bus nodes of a region, mirrors or not."""
    return [node for node in (*place.nodes(BUS), *place.nodes(MIRROR)) if node.region == region]


def bus(place: Place) -> list[Node]:
    """The nodes that are the bus now."""
    return of_region(place, active_region(place)) if mirrored(place) else place.nodes(BUS)


def followers(place: Place) -> dict[str, list[Node]]:
    """Region -> its nodes, for every region that keeps a mirror of the bus now."""
    if not mirrored(place):
        return {}
    regions = dict.fromkeys(node.region for kind in (BUS, MIRROR) for node in place.nodes(kind))
    return {region: of_region(place, region) for region in regions if region != active_region(place)}


def urls(place: Place, near: str | None = None, *, reach: Reach | None = None) -> list[str]:
    """`nats://address:port` for a client to try: first the nodes of the bus, those nearest to the region `near` first,
    then the nodes that may become the bus. `reach` defaults to `Place.endpoint`."""
    now = bus(place)
    later = [node for node in _promotable(place) if node not in now]
    if near is not None:
        now = sorted(now, key=lambda node: place.topology.distance_ms(near, node.region))
    found = reach or place.endpoint
    return [f"nats://{found(node, 'client')}" for node in (*now, *later)]


def monitors(place: Place, reach: Reach) -> list[str]:
    """The base URL of the monitoring pages of every node of the bus."""
    scheme = "http" if place.site.options.tls == "off" else "https"
    return [f"{scheme}://{reach(node, 'monitor')}" for node in bus(place)]


def _promotable(place: Place) -> list[Node]:
    regions = {node.region for node in place.all_nodes() if node.standby} | {_first_active(place)}
    return [node for node in (*place.nodes(BUS), *place.nodes(MIRROR)) if node.region in regions]


def _first_active(place: Place) -> str:
    for kind in ("relay", BUS):
        for node in place.nodes(kind):
            if not node.standby:
                return node.region
    raise ValueError(f"the size {place.site.size} has neither a relay nor a bus: no region of it is active")

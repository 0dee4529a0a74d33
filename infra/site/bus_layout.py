"""Which region is the active one, and what that makes of every node of the bus.

In the active region the relay and the consumers work of which there is one each; where other regions keep mirrors, the
bus stands there too. It is written in the system's home, so that whatever is started later, by whomever, goes there.

No node serves clients that is not part of the bus: a mirror that nobody promoted takes no publish and holds nothing
that is not elsewhere, and the old bus, when it comes back, is stale. Clients may name all of them and find the one that
takes them.
"""

from __future__ import annotations

from infra.site.site import Place, Reach
from infra.topology.model import Node

BUS, MIRROR = "nats", "mirror"
_FILE = "active-region"


def active_region(place: Place) -> str:
    try:
        return (place.site.path / _FILE).read_text()
    except FileNotFoundError:
        return _first_active(place)


def activate(place: Place, region: str) -> None:
    """Write down that another region is the active one from now on."""
    aside = place.site.path / f"{_FILE}.new"
    aside.write_text(region)
    aside.replace(place.site.path / _FILE)


def activated_at(place: Place) -> float:
    """When the active region took over (time.time()); 0 if it has always been the active one."""
    try:
        return (place.site.path / _FILE).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def works(place: Place, node: Node) -> bool:
    """Whether a node is meant to run: of a kind with standbys only that in the active region is."""
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
    """Every region whose nodes keep a mirror now, with these nodes."""
    if not mirrored(place):
        return {}
    regions = dict.fromkeys(node.region for kind in (BUS, MIRROR) for node in place.nodes(kind))
    return {region: of_region(place, region) for region in regions if region != active_region(place)}


def urls(place: Place, near: str | None = None, *, reach: Reach | None = None) -> list[str]:
    """Where clients look for the bus: first where it is, then where it may be after a loss. As parts reach it, unless
    `reach` says otherwise."""
    now = bus(place)
    later = [node for node in _promotable(place) if node not in now]
    if near is not None:
        now = sorted(now, key=lambda node: place.topology.distance_ms(near, node.region))
    found = reach or place.endpoint
    return [f"nats://{found(node, 'client')}" for node in (*now, *later)]


def monitors(place: Place, reach: Reach) -> list[str]:
    """Base URLs of the monitoring of every node that is the bus now."""
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

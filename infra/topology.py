"""The topology as data: regions, round trips, and which part stands where.

`address` is the only place that says at which IP a node is reached between regions; where the machine knows no
distance everything is on loopback (`infra.site.Place`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import tomllib
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

_FILE = Path(__file__).with_name("topology.toml")


class TopologyError(Exception):
    """The topology file contradicts itself; names the entry."""


@dataclass(frozen=True)
class Region:
    id: str
    city: str
    aws: str
    cidr: str


@dataclass(frozen=True)
class Node:
    """One part at one site: `nats-iad-b`."""

    kind: str
    site: str

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.site}"

    @property
    def region(self) -> str:
        return self.site.partition("-")[0]

    @property
    def zone(self) -> str | None:
        """The zone's letter; None for a part that stands in the region as a whole."""
        return self.site.partition("-")[2] or None


@dataclass(frozen=True)
class Topology:
    regions: dict[str, Region]
    rtt_ms: dict[frozenset[str], float]
    sizes: dict[tuple[str, str], tuple[Node, ...]]
    """By size and bus layout."""
    sha256: str

    def nodes(self, size: str, bus: str = "regional") -> tuple[Node, ...]:
        """Every node of a size under a bus layout, in the file's order. KeyError for an unknown one."""
        return self.sizes[size, bus]

    def running_regions(self, size: str) -> list[str]:
        """The regions of a size, those with an API, in the file's order."""
        return list(dict.fromkeys(node.region for node in self.nodes(size) if node.kind == "api"))

    def distance_ms(self, one: str, other: str) -> float:
        """The round trip between two regions; 0 within one."""
        return 0.0 if one == other else self.rtt_ms[frozenset((one, other))]

    def address(self, node: Node) -> str:
        """The IP address at which others reach a node over the network between regions: the first of its region's
        CIDR, or that of its zone (a: x.y.1.1, b: x.y.2.1, ...)."""
        return self.zone_address(node.region, node.zone)

    def zone_address(self, region: str, zone: str | None = None) -> str:
        network = ipaddress.ip_network(self.regions[region].cidr)
        third = ord(zone) - ord("a") + 1 if zone else 0
        return str(network.network_address + 256 * third + 1)


def load(path: Path = _FILE) -> Topology:
    """Read and check a topology. TopologyError names what is wrong."""
    content = path.read_bytes()
    data = tomllib.loads(content.decode())
    regions = {key: Region(id=key, **value) for key, value in data["regions"].items()}
    sizes: dict[tuple[str, str], tuple[Node, ...]] = {}
    for size, kinds in data["sizes"].items():
        layouts = kinds.pop("bus", {"regional": {}})
        for bus, more in layouts.items():
            sizes[size, bus] = _nodes(size, {**kinds, **more}, regions)
    return Topology(
        regions=regions,
        rtt_ms=_round_trips(data["rtt_ms"], regions),
        sizes=sizes,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _round_trips(entries: dict[str, float], regions: dict[str, Region]) -> dict[frozenset[str], float]:
    found: dict[frozenset[str], float] = {}
    for key, rtt in entries.items():
        pair = frozenset(key.split("-"))
        if len(pair) != 2 or not pair <= regions.keys():
            raise TopologyError(f"rtt_ms.{key}: expected two known regions, as in iad-ams")
        if rtt <= 0:
            raise TopologyError(f"rtt_ms.{key}: expected a round trip above 0 ms, found {rtt}")
        found[pair] = float(rtt)
    missing = [f"{a}-{b}" for a, b in combinations(regions, 2) if frozenset((a, b)) not in found]
    if missing:
        raise TopologyError(f"rtt_ms: no round trip for {', '.join(missing)}")
    return found


def _nodes(size: str, kinds: dict[str, list[str]], regions: dict[str, Region]) -> tuple[Node, ...]:
    nodes = tuple(Node(kind, site) for kind, sites in kinds.items() for site in sites)
    for node in nodes:
        if node.region not in regions:
            raise TopologyError(f"sizes.{size}.{node.kind}: {node.site} lies in no known region")
    if len(set(nodes)) != len(nodes):
        raise TopologyError(f"sizes.{size}: a site is named twice for one kind")
    return nodes

"""The topology as data: regions, round trips, and which part stands where.

`Topology.address` alone says at which IP address a node is reached from other regions. Without distance everything is
on loopback (`infra.site.site.Place`).

A topology is a file: `topology.toml` beside this module, or the one that COVENANT_TOPOLOGY names. A system keeps a copy
in its home, so that every later command sees the same regions.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import get_args

import msgspec

from infra.topology.file import TopologyError, TopologyFile
from system import wire

__all__ = [
    "VARIABLE",
    "Link",
    "Node",
    "Region",
    "Topology",
    "TopologyError",
    "great_circle_km",
    "kept_in",
    "load",
    "parse",
]

VARIABLE = "COVENANT_TOPOLOGY"
"""The environment variable that names the file of another topology."""
FIBRE_KM_PER_MS = 200.0
"""The speed of light in fibre: two thirds of that in vacuum."""
ZONES = "abcdef"
_FILE = Path(__file__).with_name("topology.toml")
_NAME = "topology.toml"
_EARTH_KM = 6371.0
_PREFIX_MAX = 21
"""The longest prefix of a region's CIDR: its zones' addresses lie 256 apart."""
_RTT_MAX_MS = 2000.0
_KIND = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TABLES = ("sources", "regions", "rtt_ms", "sizes")


@dataclass(frozen=True)
class Region:
    id: str
    city: str
    """The system's name for it."""
    aws: str
    cidr: str
    place: str
    """The city of the AWS region; the coordinates are this city's, in degrees."""
    latitude: float
    longitude: float
    source: str
    """Where the coordinates are from."""


@dataclass(frozen=True)
class Link:
    """The link between two regions; both directions are alike."""

    rtt_ms: float
    floor_ms: float
    """How long light takes in fibre along the great circle, there and back."""
    source: str


@dataclass(frozen=True)
class Node:
    """One part at one site: `nats-iad-b`. A `standby` is laid out, but started only when another region is lost."""

    kind: str
    site: str
    """A region, or a zone of one: `iad`, `iad-b`."""
    standby: bool = False

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
    """Regions, the links between them, and the nodes of every size."""

    regions: dict[str, Region]
    links: dict[frozenset[str], Link]
    """The two regions' names -> their link."""
    sizes: dict[tuple[str, str], tuple[Node, ...]]
    """(size, bus layout) -> its nodes."""
    name: str
    """The name of the file that it was read from."""
    content: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def nodes(self, size: str, bus: str = "regional") -> tuple[Node, ...]:
        """Every node of a size under a bus layout, standbys too, in the file's order; of PostgreSQL the primary first,
        then its synchronous standby. KeyError for an unknown size or layout."""
        return self.sizes[size, bus]

    def layouts(self, size: str) -> list[str]:
        """The bus layouts of a size."""
        return [bus for known, bus in self.sizes if known == size]

    def running_regions(self, size: str) -> list[str]:
        """The regions of a size, those with an API, in the file's order."""
        return list(dict.fromkeys(node.region for node in self.nodes(size) if node.kind == "api"))

    def distance_ms(self, one: str, other: str) -> float:
        """The round trip between two regions; 0 within one."""
        return 0.0 if one == other else self.links[frozenset((one, other))].rtt_ms

    def address(self, node: Node) -> str:
        """The IP address of a node in the network between the regions: the first of its region's CIDR, or that of its
        zone (a: x.y.1.1, b: x.y.2.1, ...)."""
        return self.zone_address(node.region, node.zone)

    def zone_address(self, region: str, zone: str | None = None) -> str:
        """The IP address of a region, or of one of its zones."""
        network = ipaddress.ip_network(self.regions[region].cidr)
        third = ord(zone) - ord("a") + 1 if zone else 0
        return str(network.network_address + 256 * third + 1)

    def check_kinds(self, known: Collection[str]) -> None:
        """TopologyError with the line of a kind of part that is not in `known`."""
        file = TopologyFile(self.name, self.content)
        for size, entries in file.data["sizes"].items():
            path = ("sizes", size)
            paths: list[tuple[str, ...]] = [(*path, kind) for kind in entries if kind not in ("bus", "standby")]
            paths += [(*path, "standby", kind) for kind in entries.get("standby", ())]
            paths += [(*path, "bus", layout, kind) for layout, kinds in entries["bus"].items() for kind in kinds]
            for entry in paths:
                if entry[-1] not in known:
                    file.refuse(entry, f"no part is of this kind; expected one of {', '.join(known)}")

    def keep(self, home: Path) -> None:
        """Write a copy to a system's home."""
        (home / _NAME).write_bytes(self.content)


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Topology:
    """Read and check the topology in `path`, else in the file that COVENANT_TOPOLOGY names, else the project's.

    TopologyError names the line that is wrong; OSError if there is no such file.
    """
    named = path or Path(environment.get(VARIABLE) or _FILE)
    return parse(named.name, named.read_bytes())


def parse(name: str, content: bytes) -> Topology:
    """The topology in `content`; `name` is its file's name, for errors. TopologyError names the line that is wrong."""
    file = TopologyFile(name, content)
    for table in file.data:
        if table not in _TABLES:
            file.refuse((table,), f"expected one of the tables {', '.join(_TABLES)}")
    sources = file.table("sources")
    for source in sources:
        file.convert(("sources", source), str)
    regions = _regions(file, sources)
    return Topology(
        regions=regions,
        links=_links(file, regions, sources),
        sizes={key: nodes for size in file.table("sizes") for key, nodes in _size(file, size, regions).items()},
        name=name,
        content=content,
    )


def kept_in(home: Path) -> Topology:
    """The topology in a system's home, by which it was laid out. FileNotFoundError if there is none."""
    return load(home / _NAME)


def great_circle_km(one: Region, other: Region) -> float:
    """The shortest way over the ground in km (haversine formula, with the earth as a sphere)."""
    north, south = math.radians(one.latitude), math.radians(other.latitude)
    east = math.radians(other.longitude - one.longitude)
    chord = math.sin((south - north) / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(east / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, chord)))


# The tables of the file.


class _Region(msgspec.Struct, forbid_unknown_fields=True):
    city: str
    aws: str
    cidr: str
    place: str
    lat: float
    lon: float
    source: str


class _Link(msgspec.Struct, forbid_unknown_fields=True):
    ms: float
    source: str


class _Members(msgspec.Struct, forbid_unknown_fields=True):
    primary: str | list[str]
    synchronous: str
    replicas: list[str] = []


def _regions(file: TopologyFile, sources: dict[str, object]) -> dict[str, Region]:
    known = get_args(wire.Region)
    found: dict[str, Region] = {}
    networks: dict[str, ipaddress.IPv4Network] = {}
    for name in file.table("regions"):
        path = ("regions", name)
        if name not in known:
            file.refuse(path, f"the system knows no such region; expected one of {', '.join(known)}")
        entry = file.convert(path, _Region)
        for key, value, limit in (("lat", entry.lat, 90), ("lon", entry.lon, 180)):
            if not -limit <= value <= limit:  # Also refuses nan.
                file.refuse((*path, key), f"expected degrees from -{limit} to {limit}, found {value:g}")
        _check_source(file, path, entry.source, sources)
        network = _network(file, path, entry.cidr)
        for other, taken in networks.items():
            if network.overlaps(taken):
                file.refuse((*path, "cidr"), f"{network} overlaps {taken} of {other}")
        if entry.aws in {region.aws for region in found.values()}:
            file.refuse((*path, "aws"), f"{entry.aws} is another region's already")
        networks[name] = network
        found[name] = Region(
            id=name, city=entry.city, aws=entry.aws, cidr=entry.cidr, place=entry.place, latitude=entry.lat,
            longitude=entry.lon, source=str(sources[entry.source]),
        )  # fmt: skip
    return found


def _network(file: TopologyFile, path: tuple[str, ...], cidr: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        file.refuse((*path, "cidr"), f"expected an IPv4 network, as in 10.1.0.0/16: {error}")
    if network.prefixlen > _PREFIX_MAX or not network.is_private or network.is_loopback or network.is_link_local:
        file.refuse((*path, "cidr"), f"expected a private network of /{_PREFIX_MAX} or larger, found {cidr}")
    return network


def _links(file: TopologyFile, regions: dict[str, Region], sources: dict[str, object]) -> dict[frozenset[str], Link]:
    found: dict[frozenset[str], Link] = {}
    for name in file.table("rtt_ms") if len(regions) > 1 else ():
        path = ("rtt_ms", name)
        pair = frozenset(name.split("-"))
        if len(pair) != 2 or name.count("-") != 1 or not pair <= regions.keys():
            file.refuse(path, "expected two of the file's regions, as in iad-ams")
        if pair in found:
            file.refuse(path, "this link has a round trip already")
        entry = file.convert(path, _Link)
        _check_source(file, path, entry.source, sources)
        one, other = (regions[region] for region in name.split("-"))
        distance_km = great_circle_km(one, other)
        floor_ms = 2 * distance_km / FIBRE_KM_PER_MS
        if not 0 < entry.ms <= _RTT_MAX_MS:
            file.refuse(path, f"expected a round trip above 0 and up to {_RTT_MAX_MS:g} ms, found {entry.ms:g}")
        if entry.ms < floor_ms:
            file.refuse(
                path,
                f"{entry.ms:g} ms is less than light takes: from {one.place} to {other.place} and back it is "
                f"2 x {distance_km:,.0f} km, at {FIBRE_KM_PER_MS:g} km/ms in fibre at least {floor_ms:.1f} ms",
            )
        found[pair] = Link(rtt_ms=entry.ms, floor_ms=round(floor_ms, 1), source=str(sources[entry.source]))
    missing = [f"{a}-{b}" for a, b in combinations(regions, 2) if frozenset((a, b)) not in found]
    if missing:
        file.refuse(("rtt_ms",), f"no round trip for {', '.join(missing)}")
    return found


def _check_source(file: TopologyFile, path: tuple[str, ...], source: str, sources: dict[str, object]) -> None:
    if source not in sources:
        file.refuse((*path, "source"), f"expected one of {', '.join(sources)}, as in [sources]; found {source!r}")


def _size(file: TopologyFile, size: str, regions: dict[str, Region]) -> dict[tuple[str, str], tuple[Node, ...]]:
    path = ("sizes", size)
    kinds = [kind for kind in file.table(*path) if kind not in ("bus", "standby")]
    common = [node for kind in kinds for node in _nodes(file, (*path, kind), kind, regions)]
    for kind, what in (("postgres", "one primary"), ("api", "at least one API")):
        if not any(node.kind == kind for node in common):
            file.refuse((*path, kind), f"expected {what}, found none")
    spare = [
        node
        for kind in (file.table(*path, "standby") if "standby" in file.data["sizes"][size] else ())
        for node in _nodes(file, (*path, "standby", kind), kind, regions, standby=True)
    ]
    found = {}
    for layout in file.table(*path, "bus"):
        if layout not in ("regional", "stretched"):
            file.refuse((*path, "bus", layout), "expected regional or stretched")
        bus = [
            node
            for kind in file.table(*path, "bus", layout)
            for node in _nodes(file, (*path, "bus", layout, kind), kind, regions)
        ]
        if not any(node.kind == "nats" for node in bus):
            file.refuse((*path, "bus", layout, "nats"), "expected at least one broker, found none")
        nodes = (*common, *bus, *spare)
        names = [node.name for node in nodes]
        for node in (*bus, *spare):
            if names.count(node.name) > 1:
                part = ("standby",) if node.standby else ("bus", layout)
                file.refuse((*path, *part, node.kind), f"{node.name} is named twice", node.site)
        found[size, layout] = nodes
    return found


def _nodes(
    file: TopologyFile, path: tuple[str, ...], kind: str, regions: dict[str, Region], *, standby: bool = False
) -> list[Node]:
    """The nodes of one kind."""
    if not _KIND.fullmatch(kind):
        file.refuse(path, "expected a kind of part, in lower case with hyphens")
    sites = _members(file, path) if kind == "postgres" else file.convert(path, list[str])
    if not sites:
        file.refuse(path, "expected at least one site")
    found: list[Node] = []
    for name in sites:
        region, hyphen, zone = name.partition("-")
        if region not in regions:
            file.refuse(path, f"{name} lies in no known region", name)
        if hyphen and (len(zone) != 1 or zone not in ZONES):
            file.refuse(path, f"expected a zone from {ZONES[0]} to {ZONES[-1]}, found {name}", name)
        node = Node(kind, name, standby)
        if node in found:
            file.refuse(path, f"{name} is named twice", name)
        found.append(node)
    return found


def _members(file: TopologyFile, path: tuple[str, ...]) -> list[str]:
    """The sites of PostgreSQL: the primary, its synchronous standby, the replicas."""
    entry = file.convert(path, _Members)
    primaries = [entry.primary] if isinstance(entry.primary, str) else entry.primary
    if len(primaries) != 1 or not primaries[0]:
        found = f"{len(primaries)}: {', '.join(primaries)}" if any(primaries) else "none"
        file.refuse((*path, "primary"), f"expected one primary, found {found}", primaries[-1] if primaries else None)
    if primaries[0].partition("-")[0] != entry.synchronous.partition("-")[0]:
        file.refuse(
            (*path, "synchronous"),
            f"expected the synchronous standby in the region of the primary, {primaries[0]}; found {entry.synchronous}",
        )
    return [primaries[0], entry.synchronous, *entry.replicas]

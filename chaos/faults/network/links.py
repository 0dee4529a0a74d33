"""The link between two regions is cut, in both directions or in one.

A cut is proven three times: from inside both regions no connection is made, the link's own counter stands still while
packets arrive at it, and what needs the link (replication, etcd's peers) says that it is gone.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import msgspec
import psycopg
from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.registry import HealError, undo
from infra.fabric.protocol import Capability, Fabric, LinkError, LinkState
from infra.machine.waiting import until
from infra.parts import etcd, nats, postgres
from infra.site import bus_layout
from infra.wan import measure
from infra.wan.links import planned

__all__ = [
    "bus_hears_nothing",
    "cut_link",
    "cut_link_carries_nothing",
    "etcd_peers_are_apart",
    "link_is_back",
    "no_connection_is_made",
    "replication_stands_still",
    "restart_bystander",
]

_HEARTBEATS_S = 1.0
"""A leader that gets through has sent its peers several heartbeats by then."""
_CONNECTIONS_MAX = 4096
"""That one node is asked about."""


@undo("restore the link")
def restore_link(system: Fabric, arguments: Mapping[str, str]) -> None:
    """The undo of whatever was done to one direction of a link: it is again what the topology says."""
    source, target = arguments["source"], arguments["target"]
    try:
        system.shape_link(source, target, planned(system.place.topology.distance_ms(source, target)))
    except LinkError as error:
        raise HealError(str(error)) from error


def cut_link(link: str, configuration: Configuration, way: str = "both") -> dict[str, Any]:
    """Let nothing through between the two regions of a role (`chaos.faults.roles.link`): in `both` directions, or only
    from the first to the second (`to`)."""
    activity = Activity(configuration)
    activity.needs(Capability.SHAPE_LINKS)
    one, other = roles.link(activity.system, link)
    ways = {"both": [(one, other), (other, one)], "to": [(one, other)]}[way]
    for source, target in ways:
        activity.prepare(restore_link, source=source, target=target)
    at_ns = time.monotonic_ns()
    for source, target in ways:
        shape = link_state(activity.system, source, target).shape
        activity.system.shape_link(source, target, msgspec.structs.replace(shape, cut=True))
    before = {
        f"{source}-{target}": link_state(activity.system, source, target).counters.bytes for source, target in ways
    }
    words = " and ".join(f"{source} to {target}" for source, target in ways)
    return activity.injected(at_ns, f"{one}-{other}", f"the way {words}", before)


def ends(activity: Activity) -> tuple[str, str]:
    """The two regions whose link was hit, in the order of the role."""
    one, _, other = activity.fault().part.partition("-")
    return one, other


def link_state(system: Fabric, source: str, target: str) -> LinkState:
    """One direction of a link, and what it has carried."""
    return next(state for state in system.links() if (state.source, state.target) == (source, target))


def round_trip_ms(system: Fabric, source: str, target: str, rounds: int = 1) -> float | None:
    """The shortest TCP handshake from inside one region to another; None if there was none."""
    address = system.place.topology.zone_address(target)
    started = measure.start(system.inside(source), {target: address}, rounds=rounds)
    return measure.result(started, rounds=rounds).get(target)


def restart_bystander(within_s: int, configuration: Configuration) -> bool:
    """Restart a replica at neither end, while the link is cut: connections that it makes then must find no way
    around the cut either."""
    activity = Activity(configuration)
    system, part = activity.system, roles.bystander(activity.system, ends(activity)).name
    system.restart(part)
    if until(lambda: True if system.parts[part].waiting_for() is None else None, within_s) is None:
        raise ActivityFailed(
            f"expected {part} to be ready within {within_s} s, it waits for {system.parts[part].waiting_for()}"
        )
    return True


def no_connection_is_made(configuration: Configuration) -> bool:
    """Prove from inside both regions that no TCP handshake reaches the other; a cut of one direction ends both, since
    no answer comes back."""
    activity = Activity(configuration)
    one, other = ends(activity)
    found = {a: round_trip_ms(activity.system, a, b) for a, b in ((one, other), (other, one))}
    open_ways = [f"{region} gets through in {ms:g} ms" for region, ms in found.items() if ms is not None]
    what = f"TCP handshakes between {one} and {other}, from inside both"
    if open_ways:
        return activity.prove(what, "no answer", None, "; ".join(open_ways))
    return activity.prove(what, "no answer", "no answer in 2 s, both ways")


def cut_link_carries_nothing(configuration: Configuration) -> bool:
    """Prove by the link's own counters that not a byte got through since it was cut, although packets came."""
    activity = Activity(configuration)
    for way, bytes_before in activity.fault().before.items():
        source, _, target = way.partition("-")
        counters = link_state(activity.system, source, target).counters
        carried = counters.bytes - bytes_before
        what = f"bytes from {source} to {target} since the cut"
        if carried or not counters.cut:
            activity.prove(what, "0, and packets that were dropped", None,
                           f"{carried} bytes, {counters.cut} packets dropped")  # fmt: skip
        activity.prove(what, "0", f"0, {counters.cut} packets dropped")
    return True


def replication_stands_still(within_s: int, configuration: Configuration) -> bool:
    """Prove that the replica behind the cut link receives nothing while the primary goes on writing."""
    activity = Activity(configuration)
    system = activity.system
    node = roles.replica(system, ends(activity)[1])
    secret = system.site.secrets["observer"]
    received = "select coalesce(pg_last_wal_receive_lsn(), '0/0') - '0/0'"
    with (
        psycopg.connect(postgres.dsn(system.place, "covenant_observer", secret), autocommit=True) as primary,
        psycopg.connect(postgres.dsn(system.place, "covenant_observer", secret, node=node), autocommit=True) as replica,
    ):
        written = "select pg_current_wal_lsn() - '0/0'"
        started, stood = _number(primary, written), _number(replica, received)

        def look() -> str | None:
            ahead = _number(primary, written) - started
            if _number(replica, received) != stood:
                return None
            return f"nothing, while the primary wrote {ahead} bytes" if ahead > 0 else None

        found = until(look, within_s)
    return activity.prove(f"WAL that {node.name} receives", "nothing, while the primary writes", found,
                          "it goes on receiving, or the primary writes nothing")  # fmt: skip


def etcd_peers_are_apart(within_s: int, configuration: Configuration) -> bool:
    """Prove by etcd's own counters, at both ends, that sending to the other fails or nothing comes from it."""
    activity = Activity(configuration)
    system, regions = activity.system, set(ends(activity))
    nodes = [node for node in system.place.nodes("etcd") if node.region in regions]
    if len(nodes) != 2:
        raise ActivityFailed(f"expected an etcd member in each of {', '.join(sorted(regions))}, found {len(nodes)}")
    ids = {node.name: _server_id(system, node.name) for node in nodes}
    heard: dict[str, float] = {}

    def look() -> str | None:
        now = {here.name: _heard_bytes(system, here.name, ids[there.name]) for here, there in permutations(nodes, 2)}
        silent = [name for name, count in now.items() if count == heard.get(name)]
        heard.update(now)
        time.sleep(_HEARTBEATS_S)
        return f"nothing more at {' and '.join(silent)}" if silent else None

    found = until(look, within_s)
    what = f"what etcd hears of its peer, at {nodes[0].name} and {nodes[1].name}"
    return activity.prove(what, "nothing more", found, "both go on hearing from each other")


def bus_hears_nothing(within_s: int, configuration: Configuration) -> bool:
    """Prove by the NATS nodes' own counters that nothing comes from their clients in the region behind the cut link,
    while those of other regions are heard."""
    activity = Activity(configuration)
    system, region = activity.system, ends(activity)[1]
    before = _heard_of_clients(system)

    def look() -> str | None:
        now = _heard_of_clients(system)
        grown = {key: received - before.get(key, 0) for key, received in now.items()}
        before.update(now)
        # A connection that comes and goes in between leaves no count to compare: a region is silent, or it is heard.
        others = sum(more for (of, _), more in grown.items() if of != region)
        ours = sum(more for (of, _), more in grown.items() if of == region)
        time.sleep(_HEARTBEATS_S)
        return f"nothing, while {others} bytes came from elsewhere" if ours == 0 and others > 0 else None

    return activity.prove(f"what the bus hears of its clients in {region}", "nothing, and others go on",
                          until(look, within_s), "they go on being heard, or no client is")  # fmt: skip


def _heard_of_clients(system: Fabric) -> dict[tuple[str, str], int]:
    """(region, connection) -> bytes that the bus has received on it."""
    topology = system.place.topology
    networks = {region: ipaddress.ip_network(topology.regions[region].cidr) for region in topology.regions}
    heard: dict[tuple[str, str], int] = {}
    for node in bus_layout.bus(system.place):
        page = nats.monitor(system.place, node, f"/connz?limit={_CONNECTIONS_MAX}") or {}
        for client in page.get("connections", []):
            address = ipaddress.ip_address(client["ip"])
            region = next((name for name, network in networks.items() if address in network), "outside")
            heard[region, f"{node.name}.{client['cid']}"] = int(client["in_bytes"])
    return heard


def link_is_back(within_s: int, configuration: Configuration) -> bool:
    """Whether both regions reach each other again, in about the time that the topology says."""
    activity = Activity(configuration)
    one, other = ends(activity)
    expected_ms = activity.system.place.topology.distance_ms(one, other)

    def look() -> bool | None:
        found = [round_trip_ms(activity.system, a, b) for a, b in ((one, other), (other, one))]
        return True if all(ms is not None and ms < expected_ms * 2 + 20 for ms in found) else None

    return until(look, within_s) is True


def _number(link: psycopg.Connection[Any], query: str) -> int:
    row = link.execute(query).fetchone()
    return int(row[0]) if row else 0


def _server_id(system: Fabric, member: str) -> str:
    """An etcd member's id, by its own metrics."""
    page = etcd.metrics(system.place, system.parts[member].node)
    found = re.search(r'^etcd_server_id\{server_id="([0-9a-f]+)"\}', page, re.MULTILINE)
    if found is None:
        raise ActivityFailed(f"expected {member} to tell its id in its metrics, found none")
    return found[1]


def _heard_bytes(system: Fabric, member: str, peer_id: str) -> float:
    page = etcd.metrics(system.place, system.parts[member].node)
    found = re.search(rf'^etcd_network_peer_received_bytes_total\{{From="{peer_id}"\}} (\S+)', page, re.MULTILINE)
    return float(found[1]) if found else 0.0

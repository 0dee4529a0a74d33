"""Chaos Toolkit actions and probes for the links between regions.

A cut is proven three times: from inside both regions nobody gets through, the link's own counter stands still while
packets arrive at it, and what needs the link (replication, etcd's peers) says that it is gone.
"""

from __future__ import annotations

import ipaddress
import re
import time
from itertools import permutations
from typing import Any, cast

import psycopg
from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration, Secrets

from chaos import running
from chaos.faults.proving import fault_of, prove
from chaos.handover import Facts, Fault
from chaos.journal import RESTORE_LINK, Journal
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.parts import etcd, nats, postgres
from infra.site import bus_layout
from infra.wan import control, measure

__all__ = [
    "bus_hears_nothing",
    "cut_link",
    "cut_link_carries_nothing",
    "etcd_peers_are_apart",
    "link_is_back",
    "nobody_gets_through",
    "replication_stands_still",
    "restart_bystander",
]


def cut_link(
    experiment: str, one: str, other: str, way: str = "both", configuration: Configuration = None,
    secrets: Secrets = None,
) -> dict[str, Any]:  # fmt: skip
    """Let nothing through between two regions: in `both` directions, or only from the first to the second (`to`)."""
    system = running.system()
    if not system.site.apart:
        raise ActivityFailed("expected regions with distance between them, found all on loopback: see ./covenant up")
    ways = {"both": [(one, other), (other, one)], "to": [(one, other)]}[way]
    for source, target in ways:
        Journal(system.site.path).begin(experiment, RESTORE_LINK, {"source": source, "target": target})
    at_ns = time.monotonic_ns()
    control.change(system.site.path, one, other, cast(control.Way, way), cut=True)
    before = {f"{source}-{target}": _carried(system, source, target) for source, target in ways}
    words = " and ".join(f"{source} to {target}" for source, target in ways)
    fault = Fault(experiment=experiment, at_ns=at_ns, part=f"{one}-{other}", target=f"the way {words}", before=before)
    Facts(system.site.path).add(fault)
    return {"target": fault.target, "at_ns": at_ns, **before}


def restart_bystander(
    experiment: str, part: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Restart a part that is not at either end, while the link is cut: connections that it makes anew must find no way
    around the cut either."""
    system = running.system()
    system.kill(part)
    system.start_part(part)
    waiting = until(lambda: True if system.parts[part].waiting_for() is None else None, within_s)
    if waiting is None:
        raise ActivityFailed(f"expected {part} to be ready within {within_s} s, it waits for "
                             f"{system.parts[part].waiting_for()}")  # fmt: skip
    return True


def nobody_gets_through(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Prove from inside both regions that no TCP handshake reaches the other; a cut of one direction ends both, since
    no answer comes back."""
    system, fault = fault_of(experiment)
    one, other = fault.part.split("-")
    found = {a: _round_trip_ms(system, a, b) for a, b in ((one, other), (other, one))}
    open_ways = [f"{region} gets through in {ms:g} ms" for region, ms in found.items() if ms is not None]
    what = f"TCP handshakes between {one} and {other}, from inside both"
    if open_ways:
        return prove(system, experiment, what, "no answer", None, "; ".join(open_ways))
    return prove(system, experiment, what, "no answer", "no answer in 2 s, both ways")


def cut_link_carries_nothing(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Prove by the link's own counters that not a byte got through since it was cut, although packets came."""
    system, fault = fault_of(experiment)
    for way, bytes_before in fault.before.items():
        source, target = way.split("-")
        state = _state(system, source, target)
        carried = state.counters.bytes - bytes_before
        what = f"bytes from {source} to {target} since the cut"
        if carried or not state.counters.cut:
            prove(system, experiment, what, "0, and packets that were dropped", None,
                  f"{carried} bytes, {state.counters.cut} packets dropped")  # fmt: skip
        prove(system, experiment, what, "0", f"0, {state.counters.cut} packets dropped")
    return True


def replication_stands_still(
    experiment: str, member: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove that a replica behind the cut link receives nothing while the primary goes on writing."""
    system, _ = fault_of(experiment)
    secret = system.site.secrets["observer"]
    node = system.parts[member].node
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
    return prove(system, experiment, f"WAL that {member} receives", "nothing, while the primary writes", found,
                 "it goes on receiving, or the primary writes nothing")  # fmt: skip


def etcd_peers_are_apart(
    experiment: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove by etcd's own counters, at both ends, that sending to the other fails or nothing comes from it."""
    system, fault = fault_of(experiment)
    regions = set(fault.part.split("-"))
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
    return prove(system, experiment, what, "nothing more", found, "both go on hearing from each other")


def bus_hears_nothing(
    experiment: str, region: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove by the NATS nodes' own counters that nothing comes from their clients in a region behind the cut link,
    while those of other regions are heard."""
    system, _ = fault_of(experiment)
    before = _heard_of_clients(system)

    def look() -> str | None:
        now = _heard_of_clients(system)
        grown = {key: received - before.get(key, 0) for key, received in now.items()}
        before.update(now)
        # Who comes and goes in between leaves no count to compare, so a region is silent or it is heard.
        others = sum(more for (of, _), more in grown.items() if of != region)
        ours = sum(more for (of, _), more in grown.items() if of == region)
        time.sleep(_HEARTBEATS_S)
        return f"nothing, while {others} bytes came from elsewhere" if ours == 0 and others > 0 else None

    return prove(system, experiment, f"what the bus hears of its clients in {region}", "nothing, and others go on",
                 until(look, within_s), "they go on being heard, or nobody is")  # fmt: skip


def _heard_of_clients(system: System) -> dict[tuple[str, str], int]:
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


def link_is_back(
    experiment: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:  # fmt: skip
    """Whether both regions reach each other again, in about the time that the topology says."""
    system, fault = fault_of(experiment)
    one, other = fault.part.split("-")
    planned = system.place.topology.distance_ms(one, other)

    def look() -> bool | None:
        found = [_round_trip_ms(system, a, b) for a, b in ((one, other), (other, one))]
        return True if all(ms is not None and ms < planned * 2 + 20 for ms in found) else None

    return until(look, within_s) is True


def _round_trip_ms(system: System, source: str, target: str) -> float | None:
    address = system.place.topology.zone_address(target)
    return measure.result(measure.start(system.inside(source), {target: address}, rounds=1), rounds=1).get(target)


def _state(system: System, source: str, target: str) -> control.State:
    return next(state for state in control.states(system.site.path) if (state.source, state.target) == (source, target))


def _carried(system: System, source: str, target: str) -> int:
    return _state(system, source, target).counters.bytes


def _number(link: psycopg.Connection[Any], query: str) -> int:
    row = link.execute(query).fetchone()
    return int(row[0]) if row else 0


_HEARTBEATS_S = 1.0
"""A leader that gets through has sent its peers several heartbeats by then."""
_CONNECTIONS_MAX = 4096
"""That one node is asked about."""


def _server_id(system: System, member: str) -> str:
    """An etcd member's id, by its own metrics."""
    page = etcd.metrics(system.place, system.parts[member].node)
    found = re.search(r'^etcd_server_id\{server_id="([0-9a-f]+)"\}', page, re.MULTILINE)
    if found is None:
        raise ActivityFailed(f"expected {member} to tell its id in its metrics, found none")
    return found[1]


def _heard_bytes(system: System, member: str, peer_id: str) -> float:
    page = etcd.metrics(system.place, system.parts[member].node)
    found = re.search(rf'^etcd_network_peer_received_bytes_total\{{From="{peer_id}"\}} (\S+)', page, re.MULTILINE)
    return float(found[1]) if found else 0.0

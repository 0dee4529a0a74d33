"""What is running, as `status --json` answers it; other programs rely on its shape."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import combinations
from typing import Any

import msgspec
import psycopg

from infra.fabric.protocol import Fabric
from infra.parts import covenant as covenant_parts
from infra.parts import mirror, nats, postgres
from infra.topology.model import Node
from infra.wan import measure


def status(system: Fabric, faults: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of a running system; `faults` are the open entries of its undo journal."""
    place, target = system.place, system.target()
    leader = postgres.primary(place)
    waiting = system.waiting()
    missing = system.missing(waiting)
    observer = target.nats_observer
    streams = nats.stream_states(place)
    return {
        "run_id": target.run_id,
        "fabric": system.name,
        "size": system.site.size,
        "bus": system.site.options.bus,
        "distance": "namespaces" if system.site.apart else "none",
        "options": msgspec.to_builtins(system.site.options),
        "ready": not missing,
        "missing": missing,
        "ca_file": target.tls.ca_file if target.tls else None,
        "regions": {
            region: {
                "api": target.api[region],
                "api_tls": target.api_tls.get(region),
                "web": target.web[region],
                "primary": leader is not None and leader.region == region,
                "replica_lag_s": _lag_s(system, covenant_parts.replica(place, region)),
            }
            for region in target.regions
        },
        "nats": {
            "urls": target.nats,
            "leader": {name: state["leader"] for name, state in streams.items()},
            "replicas": {name: _copies(state) for name, state in streams.items()},
            "mirror_lag": mirror.lags(place),
            "observer": {
                "user": observer.user,
                "password": observer.password,
                "ca_file": target.tls.ca_file if target.tls else None,
                "cert_file": target.tls.cert_file if target.tls else None,
                "key_file": target.tls.key_file if target.tls else None,
            },
        },
        "postgres": {
            "primary": place.outside(leader, "client") if leader else None,
            "observer_dsn": target.observer_dsn,
        },
        "links": links(system),
        "parts": [
            {"name": name, "pid": system.pid(name), "state": _state(system, name, waiting)} for name in system.parts
        ],
        "faults": faults,
    }


def links(system: Fabric) -> list[dict[str, Any]]:
    """Every link of the running regions: its round trip as measured from inside, and as the topology has it."""
    if not system.site.apart:
        return []
    topology = system.place.topology
    regions = topology.running_regions(system.site.size)
    pairs = list(combinations(regions, 2))
    measuring = {
        region: measure.start(
            system.inside(region), {other: topology.zone_address(other) for one, other in pairs if one == region}
        )
        for region in regions[:-1]
    }
    measured = {region: measure.result(started) for region, started in measuring.items()}
    cut = {(state.source, state.target) for state in system.links() if state.shape.cut}
    return [
        {
            "from": one,
            "to": other,
            "rtt_ms": measured[one].get(other),
            "topology_ms": topology.distance_ms(one, other),
            "cut": bool({(one, other), (other, one)} & cut),
        }
        for one, other in pairs
    ]


def to_text(state: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{state['run_id']}: {'ready' if state['ready'] else 'lacks ' + '; '.join(state['missing'])}"]
    for name, region in state["regions"].items():
        lag = "unknown" if region["replica_lag_s"] is None else f"{region['replica_lag_s']:g} s"
        primary = "  primary" if region["primary"] else ""
        lines.append(f"{name}  api {region['api']}  web {region['web']}  replica lag {lag}{primary}")
    lines += [_stream_text(stream, state["nats"]) for stream in state["nats"]["leader"]]
    for link in state["links"]:
        measured = "no answer" if link["rtt_ms"] is None else f"{link['rtt_ms']:g} ms"
        cut = "  cut" if link["cut"] else ""
        lines.append(f"{link['from']}-{link['to']}  round trip {measured} of {link['topology_ms']:g} ms{cut}")
    lines += [f"{part['name']:<22} {part['state']:<9}{_pid_text(part['pid'])}" for part in state["parts"]]
    lines += [f"fault: {fault['experiment']} since {fault['since']}" for fault in state["faults"]]
    return "\n".join(lines)


def _pid_text(pid: int | None) -> str:
    return "" if pid is None else f" pid {pid}"


def _copies(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A stream's copies besides the leader's: `lag` in operations, `current` by the leader's word."""
    return [
        {"name": peer["name"], "current": bool(peer.get("current")), "lag": peer.get("lag", 0)}
        for peer in state.get("replicas", [])
    ]


def _stream_text(stream: str, bus: Mapping[str, Any]) -> str:
    copies = ", ".join(
        f"{copy['name']} {'current' if copy['current'] else 'behind by ' + str(copy['lag'])}"
        for copy in bus["replicas"][stream]
    )
    behind = {region: lags[stream] for region, lags in bus["mirror_lag"].items() if stream in lags}
    mirrors = ", ".join(f"{region} {'not following' if lag < 0 else lag}" for region, lag in behind.items())
    text = f"{stream}  led by {bus['leader'][stream]}, copies: {copies or 'none'}"
    return text + (f"; mirrors behind by: {mirrors}" if mirrors else "")


def _state(system: Fabric, name: str, waiting: Mapping[str, str]) -> str:
    if not system.alive(name):
        if not system.expected(name):
            return "standby"
        return "dead" if system.wanted(name) else "stopped"
    if system.state(name) == "paused":
        return "paused"
    return "starting" if name in waiting else "ready"


def _lag_s(system: Fabric, member: Node) -> float | None:
    """Seconds since the last replayed commit if WAL is still to be replayed, else 0; None without an answer."""
    query = (
        "SELECT CASE WHEN NOT pg_is_in_recovery() OR pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 "
        "ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END"
    )
    url = postgres.dsn(system.place, "covenant_observer", system.site.secrets["observer"], node=member)
    with suppress(psycopg.Error), psycopg.connect(url) as link:
        row = link.execute(query).fetchone()
        return round(float(row[0]), 3) if row and row[0] is not None else None
    return None

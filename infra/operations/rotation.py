"""New certificates for a running system, without an outage: servers that can reload their certificate do so, etcd reads
its own at each handshake, and S3 and the system's processes are restarted one after another.

The authority stays the same, so parts with old and with new certificates trust each other meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from infra.fabric.protocol import Fabric, StartError
from infra.machine.progress import Report
from infra.parts import postgres
from infra.parts.covenant import COVENANT
from infra.site import certificates
from infra.topology.model import Node

_READY_WITHIN_S = 60.0
_RESTARTED = ("s3", *(part.kind for part in COVENANT))


class NotRotated(Exception):
    """Some part does not use its new certificate; says which one, and what to do. To rotate again is always safe."""


def rotate(system: Fabric, progress: Report) -> None:
    """Renew every certificate, and let every part use its new one. Passwords do not change. NotRotated."""
    if system.site.options.tls == "off":
        raise NotRotated("this system runs without TLS, so it has no certificates; start one with --with tls=on")
    progress(0.0, "making new certificates")
    certificates.renew(system.place)
    _reload(system)
    names = [part.name for part in system.parts.values() if part.kind in _RESTARTED and system.wanted(part.name)]
    for number, name in enumerate(names):
        progress(0.1 + 0.9 * number / len(names), f"restarting {name}")
        _restart(system, name)
    progress(1.0, "every part uses its new certificate")


def _reload(system: Fabric) -> None:
    for part in system.parts.values():
        system.reload(part.name)
    failed = [node.name for node in _members(system) if not _reloaded(system, node)]
    if failed:
        raise NotRotated(f"{', '.join(failed)} did not reload its certificate: see ./covenant status")


def _members(system: Fabric) -> Sequence[Node]:
    return [node for node in system.place.nodes("postgres") if system.alive(node.name)]


def _reloaded(system: Fabric, node: Node) -> bool:
    url = postgres.dsn(system.place, "postgres", system.site.secrets["postgres"], node=node, database="postgres")
    try:
        with psycopg.connect(url, autocommit=True) as link:
            row = link.execute("SELECT pg_reload_conf()").fetchone()
    except psycopg.Error:
        return False
    return bool(row and row[0])


def _restart(system: Fabric, name: str) -> None:
    """Restart a part and wait until it is ready. Meanwhile other parts do its work, or the work waits."""
    system.restart(name)
    try:
        system.wait_ready([system.parts[name]], time.monotonic() + _READY_WITHIN_S)
    except StartError as error:
        raise NotRotated(f"{error}\nRotate again when it runs: ./covenant rotate") from error

"""Servers show new certificates without a restart."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.operations import rotation
from infra.site import certificates
from infra.tests.small_cluster import lay_out, running
from infra.topology.options import Options

_PARTS = ["etcd-iad", "postgres-iad-a", "nats-iad-a", "nats-iad-b", "nats-iad-c"]
_LISTENERS = [("etcd-iad", "client"), ("postgres-iad-a", "rest"), ("nats-iad-a", "client")]
_WITHIN_S = 30.0


def _shown(system: System, name: str, port: str) -> bytes:
    node = system.parts[name].node
    host, _, number = system.place.outside(node, port).partition(":")
    # A listener is away for a moment while it is replaced; this build of etcd may know no TLS above 1.2.
    context = certificates.context(system.site, least=ssl.TLSVersion.TLSv1_2)
    with (
        suppress(OSError),
        socket.create_connection((host, int(number)), 5) as link,
        context.wrap_socket(link, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""
    return b""


def test_servers_show_new_certificates_and_were_not_restarted(tmp_path: Path) -> None:
    with running(tmp_path / "home", _PARTS, Options(durability="async")) as system:
        before = {name: _shown(system, name, port) for name, port in _LISTENERS}
        pids = {name: system.pid(name) for name in _PARTS}
        rotation.rotate(system, lambda share, what: None)

        def old() -> list[str]:
            return [name for name, port in _LISTENERS if _shown(system, name, port) in (before[name], b"")]

        assert until(lambda: not old() or None, _WITHIN_S), f"show no new certificate: {old()}"
        assert {name: system.pid(name) for name in _PARTS} == pids


def test_a_system_without_tls_has_nothing_to_rotate(tmp_path: Path) -> None:
    with pytest.raises(rotation.NotRotated, match="without TLS"):
        rotation.rotate(lay_out(tmp_path / "home", [], Options(tls="off")), lambda share, what: None)

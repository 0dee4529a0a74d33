"""etcd with its real configuration: no client gets in without a certificate of this system."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from checks.security import wires
from checks.security.wires import Listener
from infra.fabric.process import leader_key
from infra.fabric.process.system import System
from infra.parts import etcd
from infra.site import certificates
from infra.tests.small_cluster import running
from infra.topology.options import Options


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("etcd") / "home", ["etcd-iad"], Options()) as started:
        yield started


def _listener(system: System, port: str) -> Listener:
    host, _, number = system.place.outside(system.place.nodes("etcd")[0], port).partition(":")
    return Listener("etcd", host, int(number))


@pytest.mark.parametrize("port", ["client", "peer"])
def test_a_client_of_the_system_gets_in(system: System, port: str) -> None:
    context = etcd.context(system.place)
    assert context is not None
    assert wires.handshake(_listener(system, port), context) == etcd.least_tls().name.replace("_", ".")


@pytest.mark.parametrize("port", ["client", "peer"])
@pytest.mark.parametrize("below", [False, True])
def test_a_client_without_a_certificate_is_refused(system: System, port: str, below: bool) -> None:
    anonymous = ssl.create_default_context(cafile=str(certificates.client(system.site).ca))
    if below:
        wires.below_1_3(anonymous)
    with pytest.raises(OSError, match=r"(?i)certificate|alert"):
        wires.handshake(_listener(system, port), anonymous)


@pytest.mark.parametrize("port", ["client", "peer"])
def test_plain_text_gets_nowhere(system: System, port: str) -> None:
    answer = wires.exchange(_listener(system, port), b"GET /health HTTP/1.1\r\nHost: etcd\r\n\r\n")
    assert b"200 OK" not in answer
    assert b"health" not in answer


def test_this_machines_programs_reach_it(system: System) -> None:
    assert leader_key.holder(system.place) is None
    assert "etcd_server_id" in etcd.metrics(system.place, system.place.nodes("etcd")[0])

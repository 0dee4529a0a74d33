"""Which names a system's certificates cover, that keys are private, and that renewed ones take their place."""

from __future__ import annotations

import gc
import socket
import ssl
import stat
import struct
import threading
import warnings
from pathlib import Path

import pytest

from infra.machine.drop_privileges import Unprivileged
from infra.site import certificates, site
from infra.site.certificates import Credentials
from infra.site.site import Place
from infra.topology.model import Node, load
from infra.topology.options import DEFAULTS


@pytest.fixture
def place(tmp_path: Path) -> Place:
    where = site.create(
        tmp_path, run_id="certified", size="core", ports={}, unprivileged=Unprivileged(), clients={}, plant={},
        projects=300, options=DEFAULTS, apart=False,
    )  # fmt: skip
    made = Place(where, load())
    certificates.issue(made)
    return made


def _server(mine: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(mine.ca))
    context.load_cert_chain(str(mine.cert), str(mine.key))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[str | None, str]:
    """TLS version and the client's common name as the server knows it. ssl.SSLError if either refuses."""
    ours, theirs = socket.socketpair()
    known: list[str] = []

    def answer() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as secured:
                subject = dict(pair[0] for pair in secured.getpeercert()["subject"])  # type: ignore[index,misc]
                known.append(str(subject["commonName"]))
                secured.sendall(b"welcome")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as secured:
            secured.settimeout(5)
            assert secured.recv(7) == b"welcome"
            return secured.version(), known[0]
    finally:
        thread.join()


def _node(place: Place, name: str) -> Node:
    return next(node for node in place.all_nodes() if node.name == name)


@pytest.mark.parametrize("name", ["10.1.1.1", "127.0.0.1", "localhost", "iad.localhost", "nats-iad-a"])
def test_a_node_is_known_by_its_addresses_and_names(place: Place, name: str) -> None:
    server = _server(certificates.of(place.site, _node(place, "nats-iad-a")))
    assert _shake(server, certificates.context(place.site), name) == ("TLSv1.3", "harness")


@pytest.mark.parametrize("name", ["10.2.0.1", "ams.localhost", "nats-iad-b"])
def test_a_certificate_covers_no_other_node(place: Place, name: str) -> None:
    server = _server(certificates.of(place.site, _node(place, "nats-iad-a")))
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake(server, certificates.context(place.site), name)


def test_another_systems_node_is_not_trusted(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Place(site.create(
        tmp_path / "other", run_id="other", size="core", ports={}, unprivileged=Unprivileged(), clients={}, plant={},
        projects=300, options=DEFAULTS, apart=False,
    ), place.topology)  # fmt: skip
    certificates.issue(other)
    server = _server(certificates.of(other.site, _node(other, "nats-iad-a")))
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake(server, certificates.context(place.site), "localhost")


def test_a_client_takes_nothing_older_than_tls_1_3(place: Place) -> None:
    server = _server(certificates.of(place.site, _node(place, "nats-iad-a")))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        _shake(server, certificates.context(place.site), "localhost")


def test_keys_are_their_owners_alone(place: Place) -> None:
    keys = [*place.site.path.rglob("*.key")]
    assert len(keys) == 1 + len(place.all_nodes()) + len(certificates.CLIENTS)
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_renewed_certificates_are_others_of_the_same_authority(place: Place) -> None:
    mine = certificates.of(place.site, _node(place, "nats-iad-a"))
    before = mine.cert.read_bytes(), mine.key.read_bytes(), mine.ca.read_bytes()
    old = certificates.context(place.site)
    certificates.renew(place)
    after = mine.cert.read_bytes(), mine.key.read_bytes(), mine.ca.read_bytes()
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]
    assert certificates.context(place.site) is not old
    assert _shake(_server(mine), certificates.context(place.site), "localhost") == ("TLSv1.3", "harness")
    assert not [*place.site.path.rglob("*.new")]


def test_a_socket_that_is_reset_before_the_handshake_does_not_stay_open(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with pytest.raises(OSError, match=r"reset|not connected|EOF"):
            certificates.context(place.site).wrap_socket(ours, server_hostname="localhost").send(b"x")
        gc.collect()

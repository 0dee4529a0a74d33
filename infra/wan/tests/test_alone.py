"""Regions as real namespaces: every program inside a region uses the region's links."""

from __future__ import annotations

import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.topology import model as topology
from infra.wan import control, measure, probe
from infra.wan.alone import Network, running

pytestmark = pytest.mark.skipif(probe.refusal() is not None, reason=str(probe.refusal()))

ROUND_TRIPS = """
import socket, sys, time
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as link:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        link.sendall(b"x")
        link.recv(1)
        took.append(time.perf_counter() - began)
    print(min(took) * 1e3, link.getsockname()[0])
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with running(tmp_path_factory.mktemp("wan") / "home") as found:
        yield found


@pytest.fixture(autouse=True)
def whole(network: Network) -> Iterator[None]:
    yield
    for state in control.states(network.home):
        delay_ms = network.place.topology.distance_ms(state.source, state.target) / 2
        control.change(
            network.home, state.source, state.target, "to", delay_ms=delay_ms, jitter_ms=0.0, loss=0.0,
            bandwidth_mb_s=None, cut=False,
        )  # fmt: skip


def round_trip_ms(network: Network, source: str, target: str) -> float | None:
    address = network.place.topology.zone_address(target)
    return measure.result(measure.start(network.inside(source), {target: address}, rounds=1), rounds=1)[target]


def test_every_link_takes_about_its_round_trip(network: Network) -> None:
    topology = network.place.topology
    for one in topology.regions:
        others = {other: topology.zone_address(other) for other in topology.regions if other > one}
        measured = measure.result(measure.start(network.inside(one), others))
        for other, ms in measured.items():
            planned = topology.distance_ms(one, other)
            assert ms is not None
            assert planned <= ms, (one, other)  # A packet must never be faster than its link.


def test_a_connection_takes_the_link_and_comes_from_its_region(network: Network) -> None:
    with network.echo("syd", "valkey-syd.client") as place:
        ms, address = network.run("iad", ROUND_TRIPS, *place).split()
    assert float(ms) >= 200
    assert address == network.place.topology.zone_address("iad")


def test_this_machine_gets_in_without_distance(network: Network) -> None:
    with (
        network.echo("syd", "valkey-syd.client") as (_, port),
        socket.create_connection(("127.0.0.1", port), 5) as link,
    ):
        sent = bytes(range(256)) * 4096

        def send() -> None:
            link.sendall(sent)
            link.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        with link.makefile("rb") as received:
            assert received.read() == sent
        sender.join(5)


def test_a_connection_to_a_port_without_a_listener_is_closed(network: Network) -> None:
    place = ("127.0.0.1", network.port("api-ams.client"))
    with suppress(ConnectionError), socket.create_connection(place, 5) as link:
        assert link.recv(1) == b""


def test_many_refused_connections_do_not_disturb_others(network: Network) -> None:
    without_listener = ("127.0.0.1", network.port("api-ams.client"))
    for _ in range(300):
        with suppress(ConnectionError), socket.create_connection(without_listener, 5) as link:
            link.sendall(b"x")
    with (
        network.echo("syd", "valkey-syd.client") as (_, port),
        socket.create_connection(("127.0.0.1", port), 5) as link,
    ):
        link.sendall(b"x")
        assert link.recv(1) == b"x"


def test_a_cut_link_carries_nothing_and_heals(network: Network) -> None:
    control.change(network.home, "iad", "ams", cut=True)
    before = carried(network, "iad", "ams"), carried(network, "ams", "iad")
    assert round_trip_ms(network, "iad", "ams") is None
    assert round_trip_ms(network, "ams", "iad") is None
    assert (carried(network, "iad", "ams"), carried(network, "ams", "iad")) == before
    assert round_trip_ms(network, "iad", "syd") is not None
    control.change(network.home, "iad", "ams", cut=False)
    assert round_trip_ms(network, "iad", "ams") is not None


def test_a_cut_of_one_direction_lets_the_other_one_through(network: Network) -> None:
    control.change(network.home, "iad", "ams", "to", cut=True)
    before = carried(network, "iad", "ams"), carried(network, "ams", "iad")
    assert round_trip_ms(network, "ams", "iad") is None
    assert carried(network, "iad", "ams") == before[0]
    assert carried(network, "ams", "iad") > before[1]


def test_a_link_is_changed_while_it_runs(network: Network) -> None:
    control.change(network.home, "iad", "sfo", delay_ms=0.0)
    control.change(network.home, "iad", "syd", delay_ms=250.0)
    near = statistics.median(ms for _ in range(3) if (ms := round_trip_ms(network, "iad", "sfo")) is not None)
    far = round_trip_ms(network, "iad", "syd")
    assert far is not None
    assert far >= 500 > near


def test_an_unknown_link_is_refused(network: Network) -> None:
    with pytest.raises(control.WanError, match="iad to fra"):
        control.change(network.home, "iad", "fra", cut=True)
    with pytest.raises(ValueError, match="delay_ms"):
        control.change(network.home, "iad", "ams", delay_ms=-1.0)


def carried(network: Network, source: str, target: str) -> int:
    return next(
        state.counters.bytes
        for state in control.states(network.home)
        if (state.source, state.target) == (source, target)
    )


def test_regions_may_be_subnets_of_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A /20 a region, as GCP's auto mode has them; two of them here even below one /16."""
    text = topology.load(environment={}).content.decode()
    for ours, theirs in {
        "10.1.0.0/16": "10.150.0.0/20", "10.0.0.0/16": "10.150.16.0/20", "10.2.0.0/16": "10.152.0.0/20",
        "10.3.0.0/16": "10.148.0.0/20", "10.4.0.0/16": "10.138.0.0/20", "10.5.0.0/16": "10.218.0.0/20",
    }.items():  # fmt: skip
        text = text.replace(f'"{ours}"', f'"{theirs}"')
    (tmp_path / "gcp.toml").write_text(text)
    monkeypatch.setenv(topology.VARIABLE, str(tmp_path / "gcp.toml"))
    with running(tmp_path / "home") as network:
        assert network.place.topology.zone_address("ams", "c") == "10.150.19.1"
        for other in ("ams", "syd"):
            ms = round_trip_ms(network, "iad", other)
            assert ms is not None
            assert ms >= network.place.topology.distance_ms("iad", other)

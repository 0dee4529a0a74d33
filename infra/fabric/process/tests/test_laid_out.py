"""A system that is laid out and not started: its own copy of the topology, and parts that stand by."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.fabric import status
from infra.fabric.process.system import System
from infra.machine.drop_privileges import Unprivileged
from infra.site import site
from infra.topology import model as topology
from infra.topology.options import DEFAULTS


@pytest.fixture
def home(tmp_path: Path) -> Path:
    site.create(
        tmp_path, run_id="laid-out", size="full", ports={}, unprivileged=Unprivileged(), clients={}, plant={},
        projects=300, options=DEFAULTS, apart=False,
    )  # fmt: skip
    return tmp_path


def test_a_system_is_taken_up_with_the_topology_that_it_was_laid_out_by(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farther = topology.load().content.replace(b"iad-ams = { ms = 68", b"iad-ams = { ms = 80")
    topology.parse("mine.toml", farther).keep(home)
    monkeypatch.setenv(topology.VARIABLE, str(home / "of-someone-else.toml"))
    assert System.attach(home).place.topology.distance_ms("iad", "ams") == 80


def test_a_home_without_a_topology_is_no_system(home: Path) -> None:
    with pytest.raises(FileNotFoundError):
        System.attach(home)


def test_a_standby_is_not_lacked(home: Path) -> None:
    topology.load().keep(home)
    system = System.attach(home)
    assert system.expected("relay-iad")
    assert not system.expected("relay-ams")
    assert status._state(system, "relay-ams", {}) == "standby"
    assert status._state(system, "relay-iad", {}) == "stopped"


@pytest.mark.parametrize(("apart", "heartbeat_ms"), [(True, 135), (False, 100)])
def test_etcd_waits_as_long_as_its_members_are_apart(home: Path, apart: bool, heartbeat_ms: int) -> None:
    topology.load().keep(home)
    system = System.attach(home)
    system.site.apart = apart
    system.site.ports = {f"{node.name}.{port}": 1 for node in system.place.nodes("etcd") for port in ("client", "peer")}
    command = system.parts["etcd-iad"].command()
    assert command[command.index("--heartbeat-interval") + 1] == str(heartbeat_ms)
    assert command[command.index("--election-timeout") + 1] == str(10 * heartbeat_ms)

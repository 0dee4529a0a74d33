"""The running system: whole, told truly, and whole again after a part was killed and started anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from infra.fabric import status
from infra.fabric.process.system import System
from infra.machine import processes
from infra.parts import nats, postgres

pytestmark = pytest.mark.running

T = TypeVar("T")


def until(look: Callable[[], T | None], within_s: float) -> T | None:
    deadline = time.monotonic() + within_s
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def wait_whole(system: System) -> None:
    deadline = time.monotonic() + 60
    while missing := system.missing():
        assert time.monotonic() < deadline, missing


def test_nothing_is_missing_and_nobody_is_dead(system: System) -> None:
    wait_whole(system)
    assert [name for name in system.parts if not system.alive(name)] == []


def test_killed_part_is_gone_with_all_that_it_started_and_comes_back(system: System) -> None:
    name = "cache-invalidator-syd"
    hit = system.kill(name)
    assert hit
    assert not system.alive(name)
    assert name not in [death.part for death in system.deaths()], "we killed it ourselves: that is no surprise"
    assert any(name in lack for lack in system.missing())
    system.start_part(name)
    wait_whole(system)


def test_part_killed_by_somebody_else_is_a_death_and_is_started_again(system: System) -> None:
    name = "cache-invalidator-ams"
    before = system.processes.table.record(name)
    process = processes.find(before)
    assert before is not None
    assert process is not None
    process.kill()
    assert until(lambda: system.pid(name) not in (None, before.pid) or None, 10)
    (death,) = [death for death in system.deaths() if (death.part, death.created) == (name, before.created)]
    assert death.supervised
    assert not death.planned
    wait_whole(system)


def test_part_that_we_make_crash_is_started_again_and_no_surprise(system: System) -> None:
    name = "cache-invalidator-ams"
    known = system.deaths()
    pid = system.pid(name)
    assert system.crash(name)
    assert until(lambda: system.pid(name) not in (None, pid) or None, 10)
    wait_whole(system)
    assert system.deaths() == known


def test_status_names_primary_leaders_and_every_part(system: System) -> None:
    wait_whole(system)
    state = status.status(system, [])
    assert state["ready"] is True
    assert [name for name, region in state["regions"].items() if region["primary"]] == ["iad"]
    assert all(region["replica_lag_s"] is not None for region in state["regions"].values())
    assert set(state["nats"]["leader"]) >= {"COVENANT_COUNTRIES", "COVENANT_PROJECTS"}
    assert {part["name"]: part["state"] for part in state["parts"]} == dict.fromkeys(system.parts, "ready")
    assert {len(copies) for copies in state["nats"]["replicas"].values()} == {2}
    assert all(copy["current"] for copies in state["nats"]["replicas"].values() for copy in copies)
    text = status.to_text(state)
    assert "lacks" not in text
    assert "copies: nats-" in text


def test_standby_of_the_primary_region_is_the_synchronous_one(system: System) -> None:
    wait_whole(system)
    roles = {name: member["role"] for name, member in postgres.cluster(system.place).items()}
    assert {roles["postgres-iad-a"], roles["postgres-iad-b"]} == {"leader", "sync_standby"}
    assert roles["postgres-ams"] == roles["postgres-syd"] == "replica"


def test_every_stream_has_a_leader_and_two_current_replicas(system: System) -> None:
    wait_whole(system)
    for name, state in nats.stream_states(system.place).items():
        if name.startswith("COVENANT_"):
            assert sum(replica["current"] for replica in state["replicas"]) == 2, name


def test_no_secret_is_on_a_command_line_or_in_a_kept_log(
    system: System, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secrets = [*system.site.secrets.values(), system.site.s3_access_key, system.site.s3_secret_key]
    for process in processes.of_home(system.site.path):
        line = " ".join(process.cmdline())
        assert not any(secret in line for secret in secrets), line
    kept = tmp_path_factory.mktemp("kept")
    system.keep_logs(kept)
    files = list(kept.iterdir())
    assert any("***" in path.read_text() for path in files), "a configuration with a password should be among them"
    for path in files:
        assert not any(secret in path.read_text() for secret in secrets), path.name


def test_site_with_the_secrets_is_for_its_owner_alone(system: System) -> None:
    for name in ("site.json", "target.json"):
        assert (system.site.path / name).stat().st_mode & 0o077 == 0

"""The supervisor: when it starts what again, on real processes; and the lease, on a real etcd."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.fabric.process import deaths, leader_key
from infra.fabric.process.supervisor import Restarts, Supervisor
from infra.fabric.process.system import System
from infra.fabric.protocol import Death
from infra.machine import processes
from infra.parts.base import Part
from infra.topology.options import parse

PART = "valkey-iad"
T = TypeVar("T")


def pauses(lives_s: list[float]) -> list[float]:
    """How long a part that lives so long each time waits for each of its restarts."""
    restarts, now, found = Restarts(), 1000.0, []
    for lived_s in lives_s:
        now += lived_s
        restarts.died("relay-iad", now, lived_s)
        due = restarts.next_due()
        assert due is not None
        found.append(due - now)
        assert restarts.take_due(due) == ["relay-iad"]
        now = due
    return found


def test_pauses_grow_from_none_to_half_a_minute() -> None:
    assert pauses([0.1] * 8) == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_minute_of_life_makes_the_next_death_a_first_one() -> None:
    assert pauses([5, 5, 60, 5, 59.9]) == [0, 1, 0, 1, 2]


@given(st.lists(st.floats(0, 200), min_size=1, max_size=30))
def test_pauses_keep_to_their_bounds(lives_s: list[float]) -> None:
    found = pauses(lives_s)
    assert all(0 <= pause <= 30 for pause in found)
    assert all(pause == 0 for pause, lived_s in zip(found, lives_s, strict=True) if lived_s >= 60)


def test_a_restart_is_due_once_and_not_before_its_time() -> None:
    restarts = Restarts()
    restarts.died("relay-iad", 10.0, 1.0)
    assert restarts.take_due(10.0) == ["relay-iad"]
    assert restarts.take_due(11.0) == []
    restarts.died("relay-iad", 12.0, 1.0)
    restarts.died("api-iad", 12.0, 1.0)
    assert restarts.take_due(12.9) == ["api-iad"]
    restarts.forget("relay-iad")
    assert restarts.take_due(99.0) == []
    assert restarts.next_due() is None


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system of which only what a test starts runs."""
    made = System.create(
        tmp_path / "home", run_id="supervised", size="core", plant={}, options=parse(["distance=off", "tls=off"])
    )
    yield made
    made.stop()


def start(system: System, *names: str) -> None:
    for name in names:
        system.parts[name].folder.mkdir()
        system.parts[name].prepare()
        system.start_part(name)
    for name in names:
        wait_for(functools.partial(ready, system.parts[name]))


def ready(part: Part) -> bool | None:
    """True, or None while it waits for something."""
    return True if part.waiting_for() is None else None


def wait_for(look: Callable[[], T | None], within_s: float = 20.0) -> T:
    deadline = time.monotonic() + within_s
    while (found := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def only_death(system: System) -> Death:
    (death,) = deaths.read(system.site.path)
    return death


def test_part_that_dies_is_started_again_at_once_and_its_death_is_written_down(system: System) -> None:
    start(system, PART)
    supervisor = Supervisor(system.processes)
    supervisor.turn(0)
    before = system.processes.table.record(PART)
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    supervisor.turn(20)
    after = system.processes.table.record(PART)
    assert after is not None
    assert after.pid != before.pid
    assert system.alive(PART)
    death = only_death(system)
    assert (death.part, death.created, death.planned, death.supervised) == (PART, before.created, False, True)
    assert system.deaths() == [death], "it stays evidence"


def test_second_death_within_a_minute_waits(system: System) -> None:
    start(system, PART)
    now = [100.0]
    supervisor = Supervisor(system.processes, clock=lambda: now[0])
    for _ in range(2):
        supervisor.turn(0)
        pid = system.pid(PART)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        supervisor.turn(20)
    assert not system.alive(PART)
    now[0] += 0.9
    supervisor.turn(0)
    assert not system.alive(PART)
    now[0] += 0.2
    supervisor.turn(0)
    assert system.alive(PART)


def test_part_that_we_made_crash_is_started_again_and_is_no_surprise(system: System) -> None:
    start(system, PART)
    supervisor = Supervisor(system.processes)
    supervisor.turn(0)
    pid = system.pid(PART)
    assert system.crash(PART)
    supervisor.turn(20)
    assert system.pid(PART) not in (None, pid)
    assert only_death(system).planned
    assert system.deaths() == []


def test_part_that_is_lost_stays_dead_until_somebody_starts_it(system: System) -> None:
    start(system, PART)
    supervisor = Supervisor(system.processes)
    supervisor.turn(0)
    system.kill(PART)
    for _ in range(3):
        supervisor.turn(0.01)
    assert not system.alive(PART)
    assert only_death(system).planned
    system.start_part(PART)
    supervisor.turn(0)
    pid = system.pid(PART)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    supervisor.turn(20)
    assert system.pid(PART) not in (None, pid), "its next life is watched again"


def test_part_that_was_dead_before_the_supervisor_came_is_started(system: System) -> None:
    start(system, PART)
    pid = system.pid(PART)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not system.alive(PART) or None)
    Supervisor(system.processes).turn(20)
    assert system.alive(PART)


def test_part_that_is_killed_for_good_while_it_waits_for_its_restart_stays_dead(system: System) -> None:
    start(system, PART)
    now = [100.0]
    supervisor = Supervisor(system.processes, clock=lambda: now[0])
    for _ in range(2):
        supervisor.turn(0)
        system.crash(PART)
        supervisor.turn(20)
    system.kill(PART)
    now[0] += 60
    supervisor.turn(0)
    assert not system.alive(PART)


# As PostgreSQL does: a process that outlives its parent, in the part's folder, its environment overwritten.
ORPHANED = (
    "import os, signal; os.fork() or (os.setsid(), os.execve('/bin/sleep', ['sleep', '600'], {})); signal.pause()"
)


def test_what_a_part_leaves_is_killed_before_it_is_started_again(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = system.parts[PART]
    monkeypatch.setattr(part, "command", lambda: [sys.executable, "-c", ORPHANED])
    part.folder.mkdir()
    system.start_part(PART)
    pid = system.pid(PART)
    assert pid is not None
    child = wait_for(lambda: next(iter(psutil.Process(pid).children()), None))
    wait_for(lambda: child.name() == "sleep" or None)
    supervisor = Supervisor(system.processes)
    supervisor.turn(0)
    with subprocess.Popen(["/bin/sleep", "600"], cwd=part.folder) as bystander:
        system.crash(PART)
        assert not system.is_gone(PART)
        supervisor.turn(20)
        assert only_death(system).fenced == 1
        assert not processes.wait_gone([child], 10)
        assert bystander.poll() is None, "whoever else works in the folder is no part of it"
        bystander.kill()
    system.kill(PART)


def test_lease_is_given_back_for_a_member_that_is_dead_and_for_no_other(system: System) -> None:
    start(system, "etcd-iad", "etcd-ams", "etcd-syd")
    place, path = system.place, "/service/supervised/leader"

    def put(member: str) -> None:
        leader_key._ask(place, "put", {"key": leader_key._text(path), "value": leader_key._text(member)})

    def takes_it_anew() -> bool:
        put("postgres-iad-a")
        return True

    assert leader_key.holder(place) is None
    assert not leader_key.release(place, "postgres-iad-a", lambda: True)
    put("postgres-iad-a")
    assert not leader_key.release(place, "postgres-iad-b", lambda: True), "another member's"
    assert not leader_key.release(place, "postgres-iad-a", lambda: False), "it lives"
    assert not leader_key.release(place, "postgres-iad-a", takes_it_anew), "it is another lease by now"
    held = leader_key.holder(place)
    assert held is not None
    assert held.member == "postgres-iad-a"
    assert leader_key.release(place, "postgres-iad-a", lambda: True)
    assert leader_key.holder(place) is None


def test_lease_that_nobody_answers_for_says_so(system: System) -> None:
    with pytest.raises(leader_key.NoAnswer, match="no etcd member answered"):
        leader_key.holder(system.place)

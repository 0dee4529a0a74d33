"""On real parts: a fault that outlives its harness is reverted by whoever comes next, and an experiment leaves
evidence from its baseline to its audit."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.healing import open_faults
from chaos.run.trial import ExperimentError, run
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.target import Target
from ledger.audit import ORDER, TOTALS
from ledger.observe.rollups import HOW
from reports.evidence import RunFolder

pytestmark = pytest.mark.running

# Nothing else in the tests needs the object store, so its absence disturbs nobody.
PART = "s3-iad"
DIES_WITH_ITS_FAULT = """
import os, signal, sys
from pathlib import Path
from chaos.faults.process.kill import restart
from chaos.journal import Journal
from infra.fabric.process.system import System
system = System.attach(Path(sys.argv[1]))
Journal(system.site.path).begin("a-test", restart.name, {"part": sys.argv[2]})
FAULT
os.kill(os.getpid(), signal.SIGKILL)
"""


HEALS = """
import sys
from pathlib import Path
from chaos.healing import heal
from infra.fabric.process.system import System
print(heal(System.attach(Path(sys.argv[1])), "a-test"))
"""


@pytest.fixture
def alone(system: System) -> Iterator[None]:
    """One fault at a time, also when tests run in parallel. Given up by the kernel if we die; pytest's own timeout
    bounds the wait."""
    with (system.site.path / "chaos-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def break_and_die(system: System, fault: str) -> None:
    command = [sys.executable, "-c", DIES_WITH_ITS_FAULT.replace("FAULT", fault), str(system.site.path), PART]
    assert subprocess.run(command, timeout=60, check=False).returncode == -9
    assert [one.undo.arguments["part"] for one in open_faults(system.site.path) if one.undo.experiment == "a-test"] == [
        PART
    ]


def heal_elsewhere(system: System) -> str:
    """By a later process, as after a crash."""
    command = [sys.executable, "-c", HEALS, str(system.site.path)]
    return subprocess.run(command, timeout=60, check=True, capture_output=True, text=True).stdout.strip()


def heal_and_look(system: System) -> None:
    assert heal_elsewhere(system) == f"['a-test: restart {PART}']"
    assert until(lambda: system.parts[PART].waiting_for() is None or None, 60), system.parts[PART].waiting_for()
    pid = system.pid(PART)
    assert heal_elsewhere(system) == "[]"
    assert system.pid(PART) == pid


@pytest.mark.usefixtures("alone")
def test_a_part_killed_by_a_harness_that_was_killed_is_started_again(system: System, target: Target) -> None:
    break_and_die(system, "system.kill(sys.argv[2])")
    assert not system.alive(PART)
    heal_and_look(system)


@pytest.mark.usefixtures("alone")
def test_a_part_stopped_by_a_harness_that_was_killed_goes_on(system: System, target: Target) -> None:
    before = system.pid(PART)
    assert before is not None
    break_and_die(system, "system.pause(sys.argv[2])")
    assert system.state(PART) == "paused"
    heal_and_look(system)
    assert system.pid(PART) == before


@pytest.mark.usefixtures("alone")
def test_no_experiment_is_run_on_a_system_that_carries_a_fault(system: System, target: Target, tmp_path: Path) -> None:
    break_and_die(system, "pass")
    folder = RunFolder.create(tmp_path / "run")
    with pytest.raises(ExperimentError, match=rf"carries faults already .*restart {PART}.*chaos heal"):
        run("relay-kill", folder=folder, system=system, progress=lambda fraction, text: None)
    ((_, record),) = folder.experiments()
    assert record.fault_ns is None
    heal_and_look(system)


@pytest.mark.usefixtures("alone")
def test_an_experiment_leaves_evidence_of_fault_healing_and_every_write(
    system: System, target: Target, tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    told: list[float] = []
    run("relay-kill", folder=folder, system=system, progress=lambda fraction, text: told.append(fraction))
    ((name, record),) = folder.experiments()
    assert record.target.startswith("relay-iad, ")
    assert record.healed, record.problems
    assert record.fault_ns is not None
    assert record.undo_ns is not None
    assert record.redundancy_ns is not None
    assert record.begin_ns < record.fault_ns < record.undo_ns <= record.redundancy_ns < record.end_ns
    # Whether the instant was caught is luck on a busy machine; what is said of it must agree.
    caught = "was stored and not confirmed" in record.target
    assert all(proof.proven for proof in record.proofs) == caught
    assert next(event.kind for event in folder.timeline_events()) == "fault"
    acked = {write.id for write in folder.write_history(name) if write.outcome == "ok"}
    assert acked
    hops = folder.hops()
    regions = len(target.regions)
    assert Counter(hop.hop for hop in hops) == {
        "postgres": 1, "outbox": 1, "stream": 1, "replica": regions, "analytics": 1, "audit-logger": 1, "audit-log": 1,
        "notifications": 1, "notification": 1, "cache-invalidator": regions, "frontend-realtime": regions,
        "feed": regions, "mobile-sync": regions,
    }  # fmt: skip
    assert {count.how: count.ok for count in folder.counts()} == {HOW: True, ORDER: True, TOTALS: True}
    for hop in hops:
        assert hop.problem is None
        assert {key: hop.found.get(key) for key in acked} == dict.fromkeys(acked, 1), hop.hop
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert open_faults(system.site.path) == []

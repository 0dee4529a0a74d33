"""A machine that is made small is told so before the load: a real load against a real server, on one core that it
shares with a busy program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from commands.run.programme import REHEARSAL
from commands.run.rehearsal import rehearse, short
from commands.run.session import Session
from infra import target as targets
from infra.machine import sampler
from infra.target import Target
from loadtests.request import Request, check
from loadtests.tests.load_servers import LOAD, NatsServer
from reports.evidence import RunFolder
from reports.tests.synthetic_run import Story, run_record

_BUSY = 2
_RUN = "rehearsed"


class OneRun:
    """What a rehearsal needs of a run."""

    def __init__(self, folder: RunFolder, target_path: Path) -> None:
        self.folder = folder
        self.system = SimpleNamespace(target_path=target_path)
        self.phases: list[str] = []
        self.notes: list[tuple[str, str, str]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[object]:
        self.phases.append(name)
        yield lambda fraction, text: None

    def note(self, kind: str, name: str, detail: str) -> None:
        self.notes.append((kind, name, detail))


@pytest.fixture
def one_core() -> Iterator[None]:
    """All that this process starts shares one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@contextmanager
def busy() -> Iterator[None]:
    """Programs that keep the core busy. Their starter ends at once: a child of ours would count as the run's."""
    program = f"exec {sys.executable} -c 'while True: pass'"
    found = subprocess.run(
        ["sh", "-c", f"for each in {'x ' * _BUSY}; do ({program}) >/dev/null 2>&1 & echo $!; done"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    try:
        yield
    finally:
        for pid in map(int, found.stdout.split()):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def sampled(folder: RunFolder, disk: Path) -> Iterator[None]:
    process = subprocess.Popen(sampler.command(folder, _RUN, disk))
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def run(tmp_path: Path, one_core: None) -> Iterator[OneRun]:
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats")
    path = tmp_path / "target.json"
    targets.write(
        Target(
            run_id=_RUN, regions=["iad"], api={"iad": "http://127.0.0.1:1"}, web={}, clients={}, nats=[server.url],
            nats_load=LOAD, nats_observer=LOAD, observer_dsn="", replica_dsn={}, valkey={}, stream_replicas=1,
            durability="one replica", security="plain text",
        ),
        path,
    )  # fmt: skip
    folder = RunFolder.create(tmp_path / "run")
    folder.write_run(msgspec.structs.replace(run_record(Story()), profile="smoke"))
    yield OneRun(folder, path)
    server.kill()


def told(run: OneRun, capfd: pytest.CaptureFixture[str]) -> str:
    """The line that a rehearsal says beside a busy program, before anything of the load is there."""
    with busy():
        rehearse(cast(Session, run), [check(Request(scenario="bus-ingest", rate=500, duration_s=25))])
    assert run.phases == [REHEARSAL]
    [(_, name, says)] = run.notes
    assert name == "bus-ingest"
    assert says in capfd.readouterr().err
    assert len(run.folder.rehearsals()) == 2, "one late try may be a bad moment"
    assert run.folder.loads() == [], "nothing of it is the load's evidence"
    return says


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_machine_whose_core_others_take_is_told_before_the_load(
    run: OneRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with sampled(run.folder, tmp_path):
        says = told(run, capfd)
    assert says.startswith("this machine is disturbed, bus-ingest at 500/s: expected a schedule lag of at most 1.00 ms")
    assert "other programs " in says


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_machine_that_is_too_small_is_told_before_the_load(run: OneRun, capfd: pytest.CaptureFixture[str]) -> None:
    # Its samples would name the busy program; without them nobody else is to blame.
    says = told(run, capfd)
    assert says.startswith("this machine is too small, bus-ingest at 500/s: expected a schedule lag of at most 1.00 ms")
    assert says.endswith("; give it more cores")


def test_a_rehearsal_is_the_load_in_short_at_its_highest_rate() -> None:
    asked = check(Request(scenario="bus-ingest", arrival="ramp:100..900", duration_s=25, users=2))
    found = short(asked)
    assert (found.arrival.peak_rate, found.arrival.even) == (900, True)
    assert found.arrival.duration_s < 10
    assert (found.scenario, found.users, found.mode) == (asked.scenario, 2, asked.mode)


def test_without_loads_nothing_is_tried(run: OneRun) -> None:
    rehearse(cast(Session, run), [])
    assert (run.phases, run.notes) == ([], [])

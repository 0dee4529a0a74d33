"""However a run ends, it says how, heals, and stops the system that it started."""

from __future__ import annotations

import errno
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from commands.run.pace import Leg, Pace
from commands.run.session import Session, StepFailed
from infra.fabric.process.system import System
from infra.fabric.protocol import Death, StartError
from infra.machine import interrupts
from reports.evidence import Fingerprint, Run, RunFolder

SLEEPER = [sys.executable, "-c", "import signal; signal.sigwait([signal.SIGTERM])"]


class Pretended:
    """A system that starts nothing: what a session asks of one, and what it was asked."""

    def __init__(self, *, starts: bool = True) -> None:
        self.starts = starts
        self.calls: list[str] = []
        self.died: list[Death] = []

    def start(self, progress: Any) -> None:
        self.calls.append("start")
        if not self.starts:
            raise StartError("postgres-iad-a is not ready")

    def deaths(self) -> list[Death]:
        return self.died

    def keep_logs(self, folder: Path) -> None:
        self.calls.append("logs")

    def stop(self) -> None:
        self.calls.append("stop")

    def remove(self) -> None:
        self.calls.append("remove")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run")


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A session keeps its handlers until its process ends, which here goes on."""
    with interrupts.handled(lambda number, frame: None):
        yield


def session(folder: RunFolder, system: Pretended, *, owned: bool = True) -> Session:
    fingerprint = Fingerprint(
        cpu="", cores=2, memory_gib=1, kernel="", python="", components={}, topology_sha256="", commit=""
    )
    run = Run(run_id="r", profile="smoke", command="", seed=1, started_at="", started_ns=0, fingerprint=fingerprint)
    return Session(
        run, folder, cast(System, system), owned=owned, monitor=SLEEPER, heal=lambda _: system.calls.append("heal")
    )


def end_with(folder: RunFolder, error: BaseException | None, system: Pretended | None = None) -> Run:
    with session(folder, system or Pretended()) as run:
        run.start()
        if error is not None:
            raise error
    return folder.run()


def test_finished_run_healed_and_stopped_what_it_started(folder: RunFolder) -> None:
    system = Pretended()
    assert end_with(folder, None, system).state == "finished"
    assert system.calls == ["start", "heal", "logs", "stop", "remove"]


def test_running_system_is_left_running(folder: RunFolder) -> None:
    system = Pretended()
    with session(folder, system, owned=False) as run:
        run.start()
    assert system.calls == ["heal", "logs"]


def test_system_that_does_not_start_is_stopped_all_the_same(folder: RunFolder) -> None:
    system = Pretended(starts=False)
    ended = end_with(folder, None, system)
    assert (ended.state, ended.error) == ("not_started", "postgres-iad-a is not ready")
    assert system.calls == ["start", "logs", "stop", "remove"]


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (KeyboardInterrupt(), "interrupted", "interrupted by a signal"),
        (OSError(errno.ENOSPC, "No space left on device", "ledger"), "broken", "the disk is full (ledger)"),
        (ValueError("a bug of ours"), "broken", "the harness failed: ValueError: a bug of ours"),
    ],
)
def test_run_says_what_ended_it(folder: RunFolder, error: BaseException, state: str, said: str) -> None:
    system = Pretended()
    ended = end_with(folder, error, system)
    assert ended.state == state
    assert said in (ended.error or "")
    assert system.calls[-2:] == ["stop", "remove"]
    assert any(event.kind == "error" for event in folder.timeline_events())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_interrupts_the_run(folder: RunFolder, number: signal.Signals) -> None:
    system = Pretended()
    with session(folder, system) as run:
        run.start()
        signal.raise_signal(number)
    assert folder.run().state == "interrupted"
    assert system.calls == ["start", "heal", "logs", "stop", "remove"]


def break_down(error: Exception) -> None:
    raise error


def test_a_phase_that_breaks_is_noted_with_its_trace_and_the_others_go_on(folder: RunFolder) -> None:
    with session(folder, Pretended()) as run:
        run.start()
        for name in ("first", "second"):
            with run.phase(name):
                break_down(ValueError(f"a bug of the {name}"))
    assert folder.run().state == "finished"
    ends = [event.detail for event in folder.timeline_events() if event.kind == "phase_end"]
    assert [detail.startswith("failed: the harness failed: ValueError") for detail in ends[-2:]] == [True, True]
    errors = [(event.name, event.detail) for event in folder.timeline_events() if event.kind == "error"]
    assert errors == [
        (name, f"the harness failed: ValueError: a bug of the {name} (traceback.txt)") for name in ("first", "second")
    ]
    traces = (folder.evidence / "traceback.txt").read_text()
    assert "ValueError: a bug of the first" in traces
    assert "ValueError: a bug of the second" in traces


def test_a_full_disk_ends_the_run_from_inside_a_phase_too(folder: RunFolder) -> None:
    with session(folder, Pretended()) as run:
        run.start()
        with run.phase("first"):
            break_down(OSError(errno.ENOSPC, "No space left on device", "ledger"))
        run.note("note", "second")
    ended = folder.run()
    assert (ended.state, ended.error) == ("broken", "the disk is full (ledger)")
    assert "second" not in [event.name for event in folder.timeline_events()]


def test_a_system_that_breaks_while_it_starts_ends_the_run(folder: RunFolder) -> None:
    system = Pretended()
    system.start = lambda progress: break_down(ValueError("a bug of ours"))  # type: ignore[method-assign]
    assert end_with(folder, None, system).state == "broken"


def test_a_system_that_was_ended_before_the_run_is_ended_once(folder: RunFolder) -> None:
    system = Pretended()
    with session(folder, system) as run:
        run.start()
        run.end_system()
        assert system.calls == ["start", "heal", "logs", "stop", "remove"]
    assert system.calls == ["start", "heal", "logs", "stop", "remove"]
    assert folder.run().state == "finished"


def test_progress_says_which_phase_and_how_long_all_takes(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    with session(folder, Pretended()) as run:
        run.pace = Pace([Leg("system", "start", 60), Leg("first", "load", 120)], clock=lambda: 0.0)
        run.start()
        with run.phase("first") as progress:
            progress(0.5, "reading")
    said = capsys.readouterr().err
    assert "system: begins; phase 1 of 2, about 3 min left" in said
    assert "first: reading; phase 2 of 2, about 2 min left" in said


def fail(why: str) -> None:
    """A call, since a type checker holds what follows a `raise` for unreachable, whatever its block swallows."""
    raise StepFailed(why)


def test_failed_step_is_noted_and_the_run_goes_on(folder: RunFolder) -> None:
    with session(folder, Pretended()) as run:
        run.start()
        with run.phase("first"):
            fail("no evidence")
        with run.phase("second"):
            pass
    assert folder.run().state == "finished"
    told = [(event.kind, event.name) for event in folder.timeline_events() if event.name in ("first", "second")]
    assert told == [
        ("phase_begin", "first"),
        ("error", "first"),
        ("phase_end", "first"),
        ("phase_begin", "second"),
        ("phase_end", "second"),
    ]


def test_room_for_the_report_is_kept_while_it_runs_and_given_back(folder: RunFolder) -> None:
    with session(folder, Pretended()):
        assert (folder.path / ".ballast").stat().st_size > 1_000_000
    assert not (folder.path / ".ballast").exists()


def test_death_is_told_once_and_stays_evidence_when_the_part_was_started_again(folder: RunFolder) -> None:
    system = Pretended()
    with session(folder, system) as run:
        run.start()
        # The same life seen first by ourselves, then in the supervisor's book; and a second life's end.
        system.died = [Death(part="relay-iad", created=1.0, at_ns=5)]
        wait_for_deaths(folder, 1)
        system.died = [
            Death(part="relay-iad", created=1.0, at_ns=4, supervised=True),
            Death(part="relay-iad", created=2.0, at_ns=9, supervised=True),
        ]
        wait_for_deaths(folder, 2)
    died = [event for event in folder.timeline_events() if event.kind == "part_died"]
    assert [(event.name, event.at_ns) for event in died] == [("relay-iad", 5), ("relay-iad", 9)]
    assert died[0].detail.endswith("nothing starts it again")
    assert died[1].detail.endswith("the supervisor starts it again")


def test_deaths_before_the_run_are_not_its_own(folder: RunFolder) -> None:
    system = Pretended()
    with session(folder, system, owned=False) as run:
        run.run.started_ns = 10
        system.died = [Death(part="relay-iad", created=1.0, at_ns=9), Death(part="relay-iad", created=2.0, at_ns=10)]
        run.start()
        wait_for_deaths(folder, 1)
    assert [event.at_ns for event in folder.timeline_events() if event.kind == "part_died"] == [10]


def wait_for_deaths(folder: RunFolder, count: int) -> None:
    deadline = time.monotonic() + 10
    while sum(event.kind == "part_died" for event in folder.timeline_events()) < count:
        assert time.monotonic() < deadline, f"expected {count} deaths to be told"
        time.sleep(0.02)

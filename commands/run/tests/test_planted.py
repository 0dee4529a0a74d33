"""A planted bug's run is a process of its own: what it leaves becomes evidence, and it never outlives the night."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

import reports
from chaos.plants import PLANTS, Plant
from commands.run.planted import command, record, run_planted
from commands.run.session import StepFailed
from infra.machine import interrupts
from infra.machine.progress import show_nothing
from reports.evidence import RunFolder
from reports.evidence.folder import write_record
from reports.model import document
from reports.tests.synthetic_run import Story, write_run

BUG = Plant(
    name="late-ack", title="", kinds=("relay",), red=("bus.exactly_once",), may=("recovery.*",),
    command=("chaos", "run", "relay-kill"), takes_s=20,
)  # fmt: skip


@pytest.fixture
def night(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "night")


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_it_runs_the_bugs_own_command_into_a_folder_below_the_nights(night: RunFolder) -> None:
    bug = PLANTS["api-stall-120ms"]
    words = command(bug, night.planted_dir(bug.name))
    assert words[1:] == [
        "-m", "covenant", "plant", "api-stall-120ms", "--", "load", "run", "api-browse", "--duration", "20",
        "--out", str(night.path / "planted" / "api-stall-120ms"),
    ]  # fmt: skip


def test_what_its_rows_say_is_kept(night: RunFolder) -> None:
    folder = write_run(night.planted_dir("late-ack"), Story(profile="chaos", doubled=2, planted="late-ack"))
    write_record(folder.path / "report.json", document(reports.assess(folder)))
    found = record(BUG, folder.path, 1, 2, None, night.path)
    assert (found.red, found.may, found.folder) == (["bus.exactly_once"], ["recovery.*"], "planted/late-ack")
    assert found.rows == {
        "recovery.rto": "PASS", "recovery.rpo_loss": "PASS", "recovery.redundancy": "PASS", "bus.exactly_once": "FAIL",
        "ledger.contents": "PASS",
    }  # fmt: skip
    assert found.problem is None


def test_a_run_without_a_report_is_a_problem(night: RunFolder) -> None:
    with pytest.raises(StepFailed, match="exit code 5: no port was free; see "):
        run_planted(BUG, night, show_nothing, argv=program("import sys; print('no port was free'); sys.exit(5)"))
    (found,) = night.planted()
    assert found.rows == {}
    assert (found.problem or "").startswith("exit code 5: no port was free")


def test_a_verdict_without_a_report_is_a_problem_too(night: RunFolder) -> None:
    run_planted(BUG, night, show_nothing, argv=program(""))
    (found,) = night.planted()
    assert "it left no report" in (found.problem or "")


SLOW_TO_END = """
import pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path(sys.argv[1]).write_text("healed")
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
print("loading", flush=True)
time.sleep(60)
"""


def test_a_signal_ends_it_in_order_and_is_passed_on(night: RunFolder, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    lines: list[str] = []
    once = threading.Event()

    def interrupt(fraction: float, text: str) -> None:
        lines.append(text)
        if text == "loading" and not once.is_set():
            once.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_planted(BUG, night, interrupt, argv=[*program(SLOW_TO_END), str(ended)])
    assert ended.read_text() == "healed"
    (found,) = night.planted()
    assert found.problem == "it was ended before it came to a verdict"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


SLOWLY = """
import os, pathlib, signal, sys, time
def end(number, frame):
    for again in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(int(sys.argv[2]), again)
        time.sleep(0.1)
    pathlib.Path(sys.argv[1]).write_text("healed")
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
print("loading", flush=True)
time.sleep(60)
"""


def test_further_signals_do_not_keep_it_from_ending_in_order(night: RunFolder, tmp_path: Path) -> None:
    def interrupt(fraction: float, text: str) -> None:
        if text == "loading":
            os.kill(os.getpid(), signal.SIGINT)

    with interrupts.handled(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        run_planted(BUG, night, interrupt, argv=[*program(SLOWLY), str(tmp_path / "ended"), str(os.getpid())])
    assert (tmp_path / "ended").read_text() == "healed"


def test_it_has_a_deadline(night: RunFolder) -> None:
    with pytest.raises(StepFailed, match="it did not end within 1 s"):
        run_planted(BUG._replace(takes_s=0.3), night, show_nothing, argv=program("import time; time.sleep(60)"))
    (found,) = night.planted()
    assert (found.problem or "").startswith("it did not end within 1 s")

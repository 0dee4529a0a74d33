"""Which run saw something last: from run folders as runs leave them, and from literal records."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

import reports
from commands.run.history import Key, latest, repeated_before, with_last
from reports.evidence import BrowserTest, LeftOut, PlantedBug, RepeatedBefore, RunFolder, Seen, Tries, Try
from reports.evidence.folder import write_record
from reports.model import document
from reports.tests.synthetic_run import Story, fingerprint, write_run


def keep(runs: Path, run_id: str, at: str, *, commit: str = "c0ffee", story: Story | None = None) -> RunFolder:
    """A run that is kept, with its report."""
    folder = write_run(runs / run_id, story or Story(profile="nightly"))
    run = folder.run()
    run.run_id, run.started_at, run.finished_at = run_id, at, at
    run.fingerprint = structs.replace(fingerprint(), commit=commit)
    folder.write_run(run)
    return folder


def publish(folder: RunFolder) -> None:
    write_record(folder.path / "report.json", document(reports.assess(folder)))


def left(kind: str, name: str) -> LeftOut:
    return LeftOut(kind=kind, name=name, why="its turn is another night")  # type: ignore[arg-type]


def last(runs: Path, kind: str, name: str) -> Seen | None:
    (found,) = with_last([left(kind, name)], runs, pytest.fail)
    return found.last


def test_the_last_run_that_saw_it_with_its_commit_and_verdict(tmp_path: Path) -> None:
    publish(keep(tmp_path, "one", "2026-11-28T23:00:00+00:00", story=Story(profile="nightly", lost=3)))
    publish(keep(tmp_path, "two", "2026-11-29T23:00:00+00:00", commit="beef"))
    assert last(tmp_path, "experiment", "pg-primary-kill") == Seen(
        run_id="two", commit="beef", at="2026-11-29T23:00:00+00:00", verdict="PASS"
    )
    assert last(tmp_path, "experiment", "link-cut") is None


def test_a_failed_experiment_is_seen_as_failed(tmp_path: Path) -> None:
    publish(keep(tmp_path, "one", "2026-11-28T23:00:00+00:00", story=Story(profile="nightly", lost=3)))
    seen = last(tmp_path, "experiment", "pg-primary-kill")
    assert seen is not None
    assert seen.verdict == "FAIL"


def test_an_experiment_on_a_system_with_a_planted_bug_is_no_sight(tmp_path: Path) -> None:
    publish(keep(tmp_path, "one", "2026-11-28T23:00:00+00:00", story=Story(planted="analytics-no-guard")))
    assert last(tmp_path, "experiment", "pg-primary-kill") is None


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [(["passed", "passed"], "PASS"), (["passed", "failed"], "FAIL"), (["passed", "skipped"], "INCONCLUSIVE")],
)
def test_a_suite_is_as_bad_as_its_worst_test(tmp_path: Path, outcomes: list[str], verdict: str) -> None:
    folder = keep(tmp_path, "one", "2026-11-28T23:00:00+00:00")
    with folder.browser() as tests:
        for outcome in outcomes:
            test = BrowserTest(id="e2e/suites/test_offline.py::test_it", outcome=outcome, duration_s=1)  # type: ignore[arg-type]
            tests.add(test)
    publish(folder)
    seen = last(tmp_path, "suite", "suites/test_offline.py")
    assert seen is not None
    assert seen.verdict == verdict


def test_a_smoke_run_opens_a_part_of_a_suite_and_is_no_sight_of_it(tmp_path: Path) -> None:
    folder = keep(tmp_path, "one", "2026-11-28T23:00:00+00:00", story=Story(profile="smoke"))
    with folder.browser() as tests:
        tests.add(BrowserTest(id="e2e/test_offline.py::test_it", outcome="passed", duration_s=1))
    publish(folder)
    assert last(tmp_path, "suite", "test_offline.py") is None


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ({"bus.exactly_once": "FAIL"}, "PASS"),
        ({"bus.exactly_once": "PASS"}, "FAIL"),
        ({"bus.exactly_once": "INVALID"}, "INCONCLUSIVE"),
        ({"bus.exactly_once": "FAIL", "recovery.rto": "FAIL"}, "FAIL"),
    ],
)
def test_a_planted_bug_passes_when_it_was_caught_without_a_false_alarm(
    tmp_path: Path, rows: dict[str, str], verdict: str
) -> None:  # fmt: skip
    folder = keep(tmp_path, "one", "2026-11-28T23:00:00+00:00")
    folder.write_planted(
        PlantedBug(name="no-guard", red=["bus.exactly_once"], may=[], folder="", begin_ns=1, end_ns=2, rows=rows)
    )
    publish(folder)
    seen = last(tmp_path, "planted bug", "no-guard")
    assert seen is not None
    assert seen.verdict == verdict


def test_a_run_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    publish(keep(tmp_path, "one", "2026-11-28T23:00:00+00:00"))
    publish(keep(tmp_path, "two", "2026-11-29T23:00:00+00:00"))
    (tmp_path / "two" / "report.json").write_text("{")
    warned: list[str] = []
    (found,) = with_last([left("experiment", "pg-primary-kill")], tmp_path, warned.append)
    assert found.last is not None
    assert found.last.run_id == "one"
    (warning,) = warned
    assert str(tmp_path / "two" / "report.json") in warning


def test_of_many_sights_the_last_counts_in_whatever_order_they_come() -> None:
    key: Key = ("experiment", "link-cut")
    sights = [
        (key, Seen(run_id=str(day), commit="c", at=f"2026-11-{day}T23:00:00+00:00", verdict="PASS"))
        for day in (28, 30, 29)
    ]
    assert latest(sights)[key].run_id == "30"


def tried(runs: Path, number: int, *, repeated: int = 0, phases: int = 4) -> RunFolder:
    """A run of that day of November, with so many phases, some of them repeated."""
    folder = keep(runs, f"run-{number}", f"2026-11-{number:02}T23:00:00+00:00")
    for phase in range(phases):
        tries = [Try(begin_ns=1, end_ns=2, cause="steal", set_aside=True)] if phase < repeated else []
        name = f"phase-{phase}"
        folder.write_tries(Tries(name=name, phase=name, kind="load", tries=[*tries, Try(begin_ns=3, end_ns=4)]))
    return folder


def test_repeats_of_the_nine_runs_before_are_counted(tmp_path: Path) -> None:
    for number in range(1, 4):
        tried(tmp_path, number, repeated=3)
    for number in range(4, 12):
        tried(tmp_path, number, repeated=1)
    this = tried(tmp_path, 12, repeated=4)
    found = repeated_before(tmp_path, this.path, pytest.fail)
    assert found == RepeatedBefore(runs=9, phases=36, repeated=8 + 3)


def test_runs_without_tries_are_no_history_of_repeats(tmp_path: Path) -> None:
    this = keep(tmp_path, "one", "2026-11-28T23:00:00+00:00")
    keep(tmp_path, "two", "2026-11-29T23:00:00+00:00")
    assert repeated_before(tmp_path, this.path, pytest.fail) is None


def test_a_run_whose_tries_cannot_be_read_is_left_out_with_a_line(tmp_path: Path) -> None:
    broken = tried(tmp_path, 1)
    (broken.evidence / "tries" / "phase-0.json").write_text("{")
    lines: list[str] = []
    assert repeated_before(tmp_path, tmp_path / "new", lines.append) is None
    assert len(lines) == 1

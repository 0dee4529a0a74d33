"""What a report says of what had no turn, and of each planted bug, from literal records."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from reports.evidence import LeftOut, PlantedBug, Run, Seen
from reports.findings.nights import alarms, not_tonight
from reports.tests.synthetic_run import Story, run_record

COMMIT = "3a511ac9d1f24e0f8f6f0b7f3c1f9a4b8d2e6c70"
PASSED = Seen(run_id="20261128-2300", commit=COMMIT, at="2026-11-28T23:00:00+00:00", verdict="PASS")


@pytest.fixture
def run() -> Run:
    record = run_record(Story(profile="nightly"))
    record.started_at = "2026-11-30T23:00:00+00:00"
    return record


def left(last: Seen | None) -> LeftOut:
    return LeftOut(kind="experiment", name="link-cut", why="its turn is tomorrow", last=last)


def test_what_passed_on_this_commit_within_three_nights_counts(run: Run) -> None:
    found = not_tonight(left(PASSED), run)
    assert found.seen
    assert found.says == "last seen in 20261128-2300 of 2026-11-28 at commit 3a511ac9d1f2: PASS"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"verdict": "FAIL"}, "it did not pass"),
        ({"verdict": "INVALID"}, "it did not pass"),
        ({"commit": "f" * 40}, "another commit"),
        ({"commit": ""}, "another commit"),
        ({"at": "2026-11-27T22:59:59+00:00"}, "more than 3 nights ago"),
    ],
)
def test_what_says_nothing_of_this_release_is_not_seen(run: Run, change: dict[str, str], why: str) -> None:
    found = not_tonight(left(structs.replace(PASSED, **change)), run)
    assert not found.seen
    assert found.says.endswith(f"; not seen for this release, {why}")


def test_exactly_three_nights_ago_still_counts(run: Run) -> None:
    assert not_tonight(left(structs.replace(PASSED, at="2026-11-27T23:00:00+00:00")), run).seen


def test_what_no_run_ever_saw_is_not_seen(run: Run) -> None:
    found = not_tonight(left(None), run)
    assert (found.seen, found.says) == (False, "no run is known that saw it; not seen for this release")


def bug(rows: dict[str, str], red: list[str] | None = None, may: list[str] | None = None, **more: Any) -> PlantedBug:
    return PlantedBug(
        name="api-stall-120ms", red=["api.read_p99.*"] if red is None else red, may=may or [],
        folder="planted/api-stall-120ms", begin_ns=1, end_ns=2, rows=rows, **more,
    )  # fmt: skip


SYD = "api.read_p99.syd"
ALL_RED = {"api.read_p99.iad": "FAIL", "api.read_p99.syd": "FAIL", "harness.honesty": "PASS"}


def test_a_bug_is_caught_when_every_row_that_must_is_red() -> None:
    (alarm,) = alarms([bug(ALL_RED)])
    assert (alarm.outcome, alarm.false_alarms) == ("caught", [])
    assert alarm.says == "api-stall-120ms: api.read_p99.iad, api.read_p99.syd went red"


@pytest.mark.parametrize(
    ("found", "outcome", "says"),
    [
        (bug({**ALL_RED, "api.read_p99.syd": "PASS"}), "missed", "api.read_p99.syd stayed green"),
        (bug({**ALL_RED, SYD: "INVALID"}, whys={SYD: "steal"}), "unproven", "api.read_p99.syd was INVALID (steal)"),
        (bug({"harness.honesty": "PASS"}), "unproven", "api.read_p99.* was not judged"),
        (bug({}, problem="its system would not start"), "unproven", "its system would not start"),
        (bug({"harness.honesty": "PASS"}, red=[]), "harmless", "nothing has to go red"),
    ],
)  # fmt: skip
def test_a_bug_that_is_not_caught_is_missed_or_unproven(found: PlantedBug, outcome: str, says: str) -> None:
    (alarm,) = alarms([found])
    assert alarm.outcome == outcome
    assert says in alarm.says


def test_a_green_row_outranks_one_that_could_not_be_judged() -> None:
    (alarm,) = alarms([bug({"api.read_p99.iad": "PASS", "api.read_p99.syd": "INVALID"})])
    assert alarm.outcome == "missed"


def test_a_red_row_that_may_not_be_is_a_false_alarm() -> None:
    rows = {**ALL_RED, "availability": "FAIL", "bus.exactly_once": "FAIL"}
    (alarm,) = alarms([bug(rows, may=["availability"])])
    assert (alarm.outcome, alarm.false_alarms) == ("caught", ["bus.exactly_once"])
    assert alarm.in_words().endswith("; false alarm: bus.exactly_once")

"""The verdict of a run as a whole: how its rows add up, how it ended, what its headline says."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from reports.evidence import TimelineEvent
from reports.findings.loaded import Evidence
from reports.model import Verdict
from reports.policy.policy import Waiver
from reports.tests.spoilt_run import POLICY, doubled_effect, lost_write, report_of, row_of, slow_reads
from reports.tests.synthetic_run import SECOND, Story, at, run_record
from reports.verdict.verdict import exit_code, worst_verdict
from reports.words import headline


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["PASS", "INCONCLUSIVE", "INVALID", "FAIL"], "FAIL"),
        (["PASS", "INCONCLUSIVE", "INVALID"], "INVALID"),
        (["PASS", "INCONCLUSIVE", "NOT_JUDGED"], "INCONCLUSIVE"),
        (["PASS", "NOT_JUDGED"], "PASS"),
        ([], "NOT_JUDGED"),
    ],
)
def test_fail_outranks_invalid_outranks_inconclusive(verdicts: list[Verdict], expected: Verdict) -> None:
    assert worst_verdict(verdicts) == expected


@pytest.mark.parametrize(
    ("state", "code", "message"),
    [
        ("interrupted", 130, "the run was interrupted: why"),
        ("not_started", 5, "the system would not start: why"),
        ("broken", 3, "the run could not go on: why"),
        ("running", 3, "the run has not ended: why"),
    ],
)
def test_a_run_that_did_not_end_never_passes(evidence: Evidence, state: str, code: int, message: str) -> None:
    evidence.run.state, evidence.run.error = state, "why"  # type: ignore[assignment]
    report = report_of(evidence)
    assert (report.verdict, exit_code(report)) == ("INCONCLUSIVE", code)
    assert message in headline(report)


def test_a_run_that_broke_still_fails_on_a_lost_write(evidence: Evidence) -> None:
    evidence.run.state, evidence.run.error = "broken", "the disk is full"
    lost_write(evidence)
    report = report_of(evidence)
    assert (report.verdict, exit_code(report)) == ("FAIL", 1)
    assert "the disk is full" in headline(report)


def test_a_system_that_never_started_has_nothing_to_judge() -> None:
    started = run_record(Story(state="not_started", error="no port was free"))
    report = report_of(Evidence(run=msgspec.structs.replace(started, regions=[], experiments=[])))
    assert exit_code(report) == 5
    assert report.verdict == "INCONCLUSIVE"
    assert "no port was free" in headline(report)


def test_damaged_evidence_is_reported_and_never_passes(evidence: Evidence) -> None:
    evidence.problems = ["host.jsonl, line 3: expected `}`"]
    report = report_of(evidence)
    assert report.verdict == "INCONCLUSIVE"
    assert "host.jsonl, line 3" in headline(report)


def test_a_run_one_of_whose_phases_broke_never_passes(evidence: Evidence) -> None:
    evidence.timeline.append(TimelineEvent(at_ns=at(80), kind="error", name="browser", detail="pytest ended with 4"))
    report = report_of(evidence)
    assert report.verdict == "INCONCLUSIVE"
    assert "browser: pytest ended with 4; 19 of 19 pass" in headline(report)


def test_a_part_that_died_is_the_first_note_and_named_in_its_rows(evidence: Evidence) -> None:
    evidence.timeline.append(TimelineEvent(at_ns=at(80), kind="part_died", name="nats-ams", detail="signal 9"))
    report = report_of(evidence)
    assert report.notes[0] == "nats-ams died unplanned +80 s into the run (signal 9)"
    assert "nats-ams died" in row_of(report, "bus.publish_p99").why
    assert "nats-ams died" not in row_of(report, "api.read_p99.iad").why


def test_a_planted_bug_is_in_the_headline(evidence: Evidence) -> None:
    evidence.run.planted = "api-stall-120ms"
    assert headline(report_of(evidence)).endswith("(planted bug: api-stall-120ms)")


def test_a_waiver_lets_a_row_not_stop_the_release_and_is_shown(evidence: Evidence) -> None:
    slow_reads(evidence)
    waiver = Waiver(row="api.read_p99.syd", owner="ana", reason="new disk on Monday", expires=date(2026, 11, 30))
    report = report_of(evidence, msgspec.structs.replace(POLICY, waivers=[waiver]))
    assert (report.verdict, exit_code(report)) == ("PASS", 0)
    assert row_of(report, "api.read_p99.syd").verdict == "FAIL"
    assert report.waived == {"api.read_p99.syd": "waived by ana until 2026-11-30: new disk on Monday"}
    assert headline(report) == "GO: 18 of 19 judged gates pass, 1 waived"


def test_a_waiver_that_expired_counts_for_nothing(evidence: Evidence) -> None:
    slow_reads(evidence)
    waiver = Waiver(row="api.read_p99.syd", owner="ana", reason="new disk", expires=date(2026, 11, 23))
    report = report_of(evidence, msgspec.structs.replace(POLICY, waivers=[waiver]))
    assert (report.verdict, report.waived) == ("FAIL", {})


def test_a_profile_of_one_load_judges_its_rows_alone(evidence: Evidence) -> None:
    evidence.run.profile = "load.bus-ingest"
    evidence.run.experiments, evidence.trials = [], []
    judged = [row.id for row in report_of(evidence).slos if row.verdict != "NOT_JUDGED"]
    assert judged == ["bus.publish_p99", "bus.delivery_p99", "bus.exactly_once", "harness.honesty"]
    assert report_of(evidence).verdict == "PASS"


def test_the_worst_of_several_misses_leads_the_headline(evidence: Evidence) -> None:
    slow_reads(evidence, milliseconds=112)
    assert headline(report_of(evidence)) == "NO-GO: api.read_p99.syd 112 ms > 100 ms; 18 of 19 pass"
    doubled_effect(evidence)
    assert headline(report_of(evidence)) == "NO-GO: bus.exactly_once 1 lost or doubled > 0 and 1 more; 17 of 19 pass"


def test_windows_are_in_seconds_of_the_run(evidence: Evidence) -> None:
    first = report_of(evidence).repeats[0]
    assert first.fault_s == pytest.approx((evidence.trials[0].record.fault_ns or 0) / SECOND - at(0) / SECOND)

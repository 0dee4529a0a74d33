"""The worst that can be said: a system that is not whole again, parts that die, consumers that stop."""

from __future__ import annotations

import pytest

from reports.evidence import Count, TimelineEvent
from reports.findings.loaded import Evidence
from reports.tests.spoilt_run import report_of, row_of
from reports.tests.synthetic_run import at


def not_whole(evidence: Evidence) -> None:
    record = evidence.trials[1].record
    record.whole, record.redundancy_ns = False, None
    record.problems = ["not whole 90 s after healing, it lacks: nats-iad-b is not current"]


def test_whole_again_each_time_passes(evidence: Evidence) -> None:
    row = row_of(report_of(evidence), "recovery.redundancy")
    assert (row.verdict, row.measured, row.samples) == ("PASS", 0, 3)
    assert "bus-leader-kill 17.5 s" in row.why


def test_a_system_that_is_not_whole_again_fails_and_spoils_no_other_row(evidence: Evidence) -> None:
    not_whole(evidence)
    report = report_of(evidence)
    row = row_of(report, "recovery.redundancy")
    assert (row.verdict, row.measured) == ("FAIL", 1)
    assert "bus-leader-kill: not whole 90 s after healing, it lacks: nats-iad-b is not current" in row.why
    assert row_of(report, "recovery.rto").verdict == "PASS"
    assert report.verdict == "FAIL"


def test_an_undo_of_ours_that_failed_is_the_harness_s_fault(evidence: Evidence) -> None:
    record = evidence.trials[1].record
    record.healed, record.redundancy_ns, record.whole = False, None, None
    assert row_of(report_of(evidence), "recovery.redundancy").verdict == "INVALID"


def test_it_is_not_known_without_either(evidence: Evidence) -> None:
    evidence.trials[1].record.redundancy_ns = None
    assert row_of(report_of(evidence), "recovery.redundancy").verdict == "INCONCLUSIVE"


def test_parts_that_run_and_consumers_that_are_up_to_date_pass(evidence: Evidence) -> None:
    row = row_of(report_of(evidence), "system.parts")
    assert (row.verdict, row.measured) == ("PASS", 0)


def test_a_part_that_died_unasked_fails_though_it_runs_again(evidence: Evidence) -> None:
    evidence.timeline.append(TimelineEvent(at_ns=at(80), kind="part_died", name="nats-ams", detail="signal 9"))
    row = row_of(report_of(evidence), "system.parts")
    assert (row.verdict, row.measured) == ("FAIL", 1)
    assert "nats-ams died unplanned" in row.why


@pytest.mark.parametrize(
    "how", ["relay does not run", "every consumer has applied ..., but waited in vain for analytics"]
)
def test_what_is_wrong_at_the_end_fails_and_is_named(evidence: Evidence, how: str) -> None:
    evidence.counts.append(Count(row="system.parts", value=1, unit="wrong", how=how, ok=False))
    row = row_of(report_of(evidence), "system.parts")
    assert row.verdict == "FAIL"
    assert how in row.why

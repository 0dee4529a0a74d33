"""What a load measured and is no evidence for is shown, and never judged."""

from __future__ import annotations

from reports.evidence import Load, Operation, Recorder
from reports.findings.loaded import Evidence
from reports.model import Report, Row
from reports.tests.spoilt_run import report_of
from reports.tests.synthetic_run import Story, run_record

SECOND = 1_000_000_000
WHY = "its generator shares its cores"


def _latencies(ms: float) -> Recorder:
    recorder = Recorder()
    recorder.record_us(round(ms * 1000), 2000)
    return recorder


def _load(scenario: str, ms: float, lag_ms: float, untimed: dict[str, str] | None = None) -> Load:
    return Load(
        scenario=scenario, begin_ns=0, end_ns=60 * SECOND, warmup_s=0, offered_per_s=1000, offered=60_000, sent=60_000,
        ok=60_000, failed=0, unknown=0, schedule_lag=_latencies(lag_ms).close(), seconds=[], untimed=untimed or {},
        operations=[Operation(name="bus.delivery_p99", latencies=_latencies(ms).close())],
    )  # fmt: skip


def _report(*loads: Load, profile: str = "nightly") -> Report:
    return report_of(Evidence(run=run_record(Story(profile=profile)), loads=list(loads)))


def _row(report: Report, name: str = "bus.delivery_p99") -> Row:
    return next(row for row in report.slos if row.id == name)


ON_TIME = _load("bus-ingest", 5, 0.2)
SLOW = _load("mixed-nightly-bus", 40, 3, {"bus.delivery_p99": WHY})


def test_it_does_not_spoil_the_row_of_a_load_that_is_evidence() -> None:
    report = _report(ON_TIME, SLOW)
    row = _row(report)
    assert (row.verdict, row.samples, round(row.measured or 0)) == ("PASS", 2000, 5)
    assert _row(report, "harness.honesty").verdict == "PASS"


def test_alone_it_is_shown_and_proves_nothing() -> None:
    row = _row(_report(SLOW))
    assert (row.verdict, row.why, round(row.measured or 0)) == ("INCONCLUSIVE", WHY, 40)
    assert row.claim.verdict == "NOT_JUDGED"


def test_without_the_reason_it_is_judged() -> None:
    assert _row(_report(_load("mixed-nightly-bus", 40, 0.2))).verdict == "FAIL"
    assert _row(_report(_load("mixed-nightly-bus", 40, 3))).verdict == "INVALID"

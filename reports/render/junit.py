"""JUnit XML, which every CI system reads: a test case for every row."""

from __future__ import annotations

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from reports import words
from reports.model import Report, Row


def _case(row: Row, report: Report) -> TestCase:
    case = TestCase(row.id, classname=f"covenant.{report.profile}")
    detail = f"measured {words.measured(row)}, gate {words.bound(row.gate)}: {row.why}"
    if row.id in report.waived:
        case.result = [Skipped(f"{row.verdict}, {report.waived[row.id]}; {detail}")]
    elif row.verdict == "FAIL":
        case.result = [Failure(detail, "FAIL")]
    elif row.verdict in ("INVALID", "INCONCLUSIVE"):
        case.result = [Error(detail, row.verdict)]
    elif row.verdict == "NOT_JUDGED":
        case.result = [Skipped(row.why)]
    return case


def to_junit(report: Report) -> bytes:
    """The report as JUnit XML: FAIL is a failure, INVALID and INCONCLUSIVE are errors, NOT_JUDGED and waived rows are
    skipped."""
    suite = TestSuite(f"covenant {report.profile}")
    suite.timestamp = report.started_at
    suite.add_property("run_id", report.run_id)
    suite.add_property("verdict", report.verdict)
    suite.add_property("headline", words.headline(report))
    suite.add_testcases([_case(row, report) for row in [*words.judged(report), *words.not_judged(report)]])
    xml = JUnitXml(f"covenant {report.profile}")
    xml.add_testsuite(suite)
    return bytes(xml.tostring())  # type: ignore[no-untyped-call]

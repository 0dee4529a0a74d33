"""JUnit XML, which every CI system reads: a test case for every row, with what was measured as its properties."""

from __future__ import annotations

from junitparser import Error, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from reports import words
from reports.model import Report, Row


def _case(row: Row, report: Report) -> TestCase:
    classname = words.printable(f"covenant.{report.profile}")
    case = TestCase(row.id, classname=classname, time=round(report.measuring_s.get(row.id, 0.0), 3))
    case.append(_properties(row))  # type: ignore[no-untyped-call]
    detail = words.printable(f"measured {words.measured(row)}, gate {words.bound(row.gate)}: {row.why}")
    if row.id in report.waived:
        case.result = [Skipped(words.printable(f"{row.verdict}, {report.waived[row.id]}; ") + detail)]
    elif row.verdict == "FAIL":
        case.result = [Failure(detail, "FAIL")]
    elif row.verdict in ("INVALID", "INCONCLUSIVE"):
        case.result = [Error(detail, row.verdict)]
    elif row.verdict == "NOT_JUDGED":
        case.result = [Skipped(words.printable(row.why))]
    return case


def _properties(row: Row) -> Properties:
    """The verdict and the figures; what is not known is left out."""
    figures = {
        "verdict": row.verdict,
        "measured": row.measured,
        "unit": row.unit,
        "gate": words.bound(row.gate) if row.gate else None,
        "samples": row.samples,
        "p999": row.p999,
        "max": row.max,
    }
    properties = Properties()  # type: ignore[no-untyped-call]
    for name, value in figures.items():
        if value is not None:
            properties.add_property(Property(name, words.printable(str(value))))
    return properties


def to_junit(report: Report) -> bytes:
    """The report as JUnit XML: FAIL is a failure, INVALID and INCONCLUSIVE are errors, NOT_JUDGED and waived rows are
    skipped. A case's time is how long its row was measured, the suite's how long the run took, both in seconds."""
    name = words.printable(f"covenant {report.profile}")
    suite = TestSuite(name)
    suite.timestamp = report.started_at
    suite.add_property("run_id", words.printable(report.run_id))
    suite.add_property("verdict", report.verdict)
    suite.add_property("headline", words.printable(words.headline(report)))
    suite.add_testcases([_case(row, report) for row in [*words.judged(report), *words.not_judged(report)]])
    xml = JUnitXml(name)
    xml.add_testsuite(suite)
    # Rows are measured at the same time, so the sum of their times is not the run's.
    suite.time = xml.time = report.duration_s or 0.0
    return bytes(xml.tostring())  # type: ignore[no-untyped-call]

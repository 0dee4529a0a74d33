"""The row of the browser suites: what its tests say, and what pytest around them says."""

from __future__ import annotations

import pytest

from reports.evidence import BrowserSession, BrowserTest, TimelineEvent
from reports.findings.loaded import Evidence
from reports.tests.spoilt_run import report_of, row_of


def test_a_browser_test_that_failed_fails_the_gate_but_not_the_claim(evidence: Evidence) -> None:
    evidence.browser.append(BrowserTest(id="t", outcome="failed", duration_s=1))
    row = row_of(report_of(evidence), "web.e2e")
    assert (row.verdict, row.claim.verdict) == ("FAIL", "PASS")
    assert row.measured == pytest.approx(200 / 3)


def test_browser_tests_that_were_skipped_are_inconclusive_with_the_reason(evidence: Evidence) -> None:
    evidence.browser, evidence.browser_session = [], None
    evidence.timeline.append(TimelineEvent(at_ns=1, kind="skipped", name="browser", detail="no browser was found"))
    row = row_of(report_of(evidence), "web.e2e")
    assert (row.verdict, row.why) == ("INCONCLUSIVE", "skipped: no browser was found")
    evidence.browser = [
        BrowserTest(id="a", outcome="passed", duration_s=1),
        BrowserTest(id="b", outcome="skipped", duration_s=0, detail="no service worker"),
    ]
    assert row_of(report_of(evidence), "web.e2e").verdict == "INCONCLUSIVE"


def test_a_browser_test_that_failed_as_expected_is_no_pass_and_no_skip(evidence: Evidence) -> None:
    known = BrowserTest(id="b", outcome="skipped", duration_s=0, detail="known: 42", expected_to_fail=True)
    evidence.browser, evidence.browser_session = [BrowserTest(id="a", outcome="passed", duration_s=1), known], None
    report = report_of(evidence)
    row = row_of(report, "web.e2e")
    assert (row.verdict, row.measured) == ("INCONCLUSIVE", 100)
    assert row.why == "1 failed as expected, which is no pass: b: known: 42"
    assert (report.e2e.passed, report.e2e.skipped, report.e2e.xfailed) == (1, 0, 1)


def test_a_browser_test_that_passed_although_it_was_expected_to_fail_is_named(evidence: Evidence) -> None:
    evidence.browser = [BrowserTest(id="a", outcome="passed", duration_s=1, expected_to_fail=True)]
    evidence.browser_session = None
    report = report_of(evidence)
    row = row_of(report, "web.e2e")
    assert row.verdict == "PASS"
    assert "1 passed although expected to fail: a" in row.why
    assert (report.e2e.passed, report.e2e.xpassed) == (0, 1)


@pytest.mark.parametrize(
    ("session", "verdict", "why"),
    [
        (BrowserSession(selected=["t"], exit_code=0), "PASS", "1 of 1 tests passed"),
        (BrowserSession(selected=["t"], exit_code=1), "INVALID", "no failure is recorded"),
        (BrowserSession(selected=["t"], errors=["e2e/test_b.py: SyntaxError"], exit_code=1), "INVALID", "SyntaxError"),
        (BrowserSession(selected=["t"], exit_code=-9), "INVALID", "killed by SIGKILL"),
        (BrowserSession(selected=["t"], exit_code=3, said="INTERNALERROR> boom"), "INVALID", "boom"),
        (BrowserSession(selected=["t", "u"], exit_code=0), "INCONCLUSIVE", "1 of 2 tests left no result: u"),
        (BrowserSession(selected=["t"], exit_code=None), "INCONCLUSIVE", "did not end"),
    ],
)
def test_browser_tests_that_passed_prove_nothing_if_pytest_cannot_be_trusted(
    evidence: Evidence, session: BrowserSession, verdict: str, why: str
) -> None:
    evidence.browser = [BrowserTest(id="t", outcome="passed", duration_s=1)]
    evidence.browser_session = session
    row = row_of(report_of(evidence), "web.e2e")
    assert row.verdict == verdict
    assert why in row.why


def test_a_browser_test_that_failed_fails_also_if_pytest_crashed_afterwards(evidence: Evidence) -> None:
    evidence.browser = [BrowserTest(id="t", outcome="failed", duration_s=1)]
    evidence.browser_session = BrowserSession(selected=["t", "u"], exit_code=-11)
    assert row_of(report_of(evidence), "web.e2e").verdict == "FAIL"


def test_without_any_browser_test_the_reason_is_what_pytest_says(evidence: Evidence) -> None:
    evidence.browser = []
    evidence.browser_session = BrowserSession(errors=["e2e/test_b.py: SyntaxError"], exit_code=2)
    row = row_of(report_of(evidence), "web.e2e")
    assert (row.verdict, row.measured) == ("INVALID", None)
    assert "e2e/test_b.py: SyntaxError" in row.why
    evidence.browser_session = BrowserSession(exit_code=5)
    row = row_of(report_of(evidence), "web.e2e")
    assert (row.verdict, row.why) == ("INCONCLUSIVE", "no browser test was selected")

"""What `./covenant test` counts as passed."""

from __future__ import annotations

from pathlib import Path

import pytest
from junitparser import Failure, JUnitXml, TestCase, TestSuite

from commands import checked

FAILS_THE_SESSION = """
import pytest

@pytest.fixture(autouse=True)
def fails_the_session(request):
    request.session.testsfailed = 1

def test_passes(): pass
"""


def suites(*, failed: bool) -> JUnitXml:
    case = TestCase("a")
    if failed:
        case.result = [Failure("assert 0")]
    suite = TestSuite("pytest")
    suite.add_testcase(case)
    xml = JUnitXml()
    xml.add_testsuite(suite)
    return xml


@pytest.mark.parametrize(
    ("code", "failed", "broken"),
    [(0, False, False), (1, True, False), (1, False, True), (0, True, True), (3, True, True)],
)
def test_an_exit_code_that_contradicts_the_tests_is_broken(code: int, failed: bool, broken: bool) -> None:
    tally = checked.tally(code, suites(failed=failed))
    assert (tally.passed, tally.failed) == ((0, 1) if failed else (1, 0))
    assert tally.broken == broken


def test_a_session_that_fails_although_every_test_passed_is_broken(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILS_THE_SESSION)
    tally = checked.pytest(tmp_path, [f"--rootdir={tmp_path}", str(tmp_path)], {})
    assert tally == checked.Tally(passed=1, broken=True)

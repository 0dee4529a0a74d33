"""Whether the browser suites' run can be trusted: silence about a test is never taken for a pass."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from reports.evidence import BrowserSession, BrowserTest
from reports.model import BrowserResult

_NAMED_MAX = 3
_PASSED, _FAILED, _NONE_SELECTED = 0, 1, 5
"""pytest's exit codes."""


def distrust(session: BrowserSession | None, tests: list[BrowserTest]) -> tuple[str | None, str | None]:
    """(invalid, missing): why what pytest says cannot be trusted, and what evidence is missing; None where nothing is.

    A run that was recorded before sessions were has none, and only its tests say something.
    """
    if session is None:
        return None, None
    return _invalid(session, tests), _missing(session, tests)


def _invalid(session: BrowserSession, tests: list[BrowserTest]) -> str | None:
    code = session.exit_code
    if session.errors:
        more = f" (and {len(session.errors) - _NAMED_MAX} more)" if len(session.errors) > _NAMED_MAX else ""
        return f"outside of any test, {'; '.join(session.errors[:_NAMED_MAX])}{more}"
    if code is None or code in (_PASSED, _NONE_SELECTED):
        return None
    if code < 0:
        return f"pytest was killed by {_signal(-code)}"
    if code != _FAILED:
        return f"pytest ended with exit code {code}: {session.said}"
    if not any(test.outcome == "failed" for test in tests):
        return "pytest says that a test failed (exit code 1), and no failure is recorded"
    return None


def _missing(session: BrowserSession, tests: list[BrowserTest]) -> str | None:
    if session.exit_code is None:
        return session.said or "the suites did not end"
    if session.exit_code == _NONE_SELECTED:
        return "no browser test was selected"
    silent = sorted(set(session.selected or ()) - {test.id for test in tests})
    if silent and session.exit_code == _PASSED:
        return f"{len(silent)} of {len(session.selected or ())} tests left no result: {', '.join(silent[:_NAMED_MAX])}"
    return None


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def outcomes(tests: Sequence[BrowserTest]) -> BrowserResult:
    """How many tests ended in which way."""
    found = [(test.outcome, test.expected_to_fail) for test in tests]
    return BrowserResult(
        passed=found.count(("passed", False)),
        failed=sum(outcome == "failed" for outcome, _ in found),
        flaky=0,
        skipped=found.count(("skipped", False)),
        xfailed=found.count(("skipped", True)),
        xpassed=found.count(("passed", True)),
    )

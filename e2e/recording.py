"""A pytest plugin that keeps the browser suites' evidence: each test's outcome, and what failed outside of any test.

A test has three phases, set-up, call and teardown, and its outcome is decided here from all of them: a fixture that
asserts after its `yield` fails the test, too. What pytest reports outside of tests (a file that cannot be imported, an
error of pytest's own) is kept beside, so that the verdict never takes silence for a pass. The runner loads it with
`-p e2e.recording`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reports.evidence import BrowserSession, BrowserTest, RunFolder

FOLDER = "COVENANT_RUN_FOLDER"
"""The environment variable that names the run's folder; without it nothing is recorded."""

_DETAIL_MAX = 2000
_PHASES = ("setup", "call", "teardown")


def outcome_of(test: str, reports: Sequence[pytest.TestReport]) -> BrowserTest:
    """The outcome of a test from the reports of all its phases: failed if one failed, else skipped if one was skipped.

    A phase that neither passed nor was skipped (a crashed worker, a repeated try) counts as failed. `expected_to_fail`
    tells a known failure from a test that was skipped.
    """
    bad = [report for report in reports if report.outcome not in ("passed", "skipped")]
    skipped = [report for report in reports if report.outcome == "skipped"]
    known = [report for report in reports if hasattr(report, "wasxfail")]
    detail = "\n".join(f"{report.when}: {report.longreprtext}" for report in bad)[-_DETAIL_MAX:]
    if not bad and known:
        detail = str(known[0].wasxfail)
    elif not bad and skipped:
        detail = _skip_reason(skipped[0])
    return BrowserTest(
        id=test,
        outcome="failed" if bad else "skipped" if skipped else "passed",
        duration_s=round(sum(report.duration for report in reports), 3),
        detail=detail,
        expected_to_fail=bool(known),
    )


def _skip_reason(report: pytest.TestReport) -> str:
    where = report.longrepr
    return str(where[2]).removeprefix("Skipped: ") if isinstance(where, tuple) else report.longreprtext


class Recording:
    """Collects the reports of each test until its last phase, then writes its line."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._reports: dict[str, list[pytest.TestReport]] = {}
        self._selected: list[str] | None = None
        self._errors: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._error(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        # With pytest-xdist, it is the workers that collect.
        if session.items:
            self._select([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._select(list(ids))

    def pytest_internalerror(self, excrepr: object) -> None:
        self._error(f"pytest itself failed: {_last_line(str(excrepr))}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reports = self._reports.setdefault(report.nodeid, [])
        reports.append(report)
        if report.when == "teardown" or report.when not in _PHASES:
            self._write(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        # A test that was interrupted has no outcome, unless a phase of it had failed already.
        for test, reports in list(self._reports.items()):
            if any(report.failed for report in reports):
                self._write(test)

    def _write(self, test: str) -> None:
        with self._folder.browser() as log:
            log.add(outcome_of(test, self._reports.pop(test)))

    def _select(self, ids: list[str]) -> None:
        self._selected = ids
        self._keep()

    def _error(self, what: str) -> None:
        self._errors.append(what[-_DETAIL_MAX:])
        self._keep()

    def _keep(self) -> None:
        self._folder.write_browser_session(BrowserSession(selected=self._selected, errors=self._errors))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1].removeprefix("E   ").strip()


def pytest_configure(config: pytest.Config) -> None:
    folder = os.environ.get(FOLDER)
    # A worker of pytest-xdist hands its reports to the process that started it, which records them.
    if folder and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recording(RunFolder(Path(folder))), "covenant-recording")

"""Fixtures of the browser suites, and their evidence when they run for a report: a line for every test.

pytest-playwright keeps a trace and a screenshot of a failing test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from e2e.browser import VARIABLE
from e2e.runner import RUN_FOLDER
from infra.machine import surroundings
from reports.evidence import BrowserTest, RunFolder


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    executable = os.environ.get(VARIABLE)
    home = os.environ.get(surroundings.CALLERS_HOME, os.environ["HOME"])
    return {
        **browser_type_launch_args,
        # A browser that is a snap starts in its user's home folder alone; its profile is Playwright's all the same.
        "env": {**os.environ, "HOME": home},
        **({"executable_path": executable} if executable else {}),
    }


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "viewport": {"width": 1280, "height": 800}}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    folder = os.environ.get(RUN_FOLDER)
    # A test is recorded once: when it has run, or when its set-up has failed or skipped it.
    if folder and (report.when == "call" or (report.when == "setup" and not report.passed)):
        run = RunFolder(Path(folder))
        with run.browser() as log:
            log.add(
                BrowserTest(
                    id=report.nodeid,
                    outcome=report.outcome,
                    duration_s=round(report.duration, 3),
                    detail=report.longreprtext[-2000:] if not report.passed else "",
                )
            )
    return report

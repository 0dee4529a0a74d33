"""Fixtures of the browser suites. pytest-playwright keeps a trace and a screenshot of a failing test."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.browser import environment, executable_for


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], browser_name: str, browser_channel: str | None
) -> dict[str, Any]:
    executable = executable_for(browser_name, browser_channel)
    own = {"executable_path": executable} if executable else {}
    return {**browser_type_launch_args, "env": environment(), **own}


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "viewport": {"width": 1280, "height": 800}}

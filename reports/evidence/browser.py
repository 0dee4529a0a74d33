"""The records of the browser suites: each test, and the run of pytest that it belongs to. Nothing is judged here."""

from __future__ import annotations

from typing import Literal

import msgspec


class BrowserTest(msgspec.Struct, frozen=True, kw_only=True):
    """One browser test (a line of `evidence/e2e/tests.jsonl`); retries are off."""

    id: str
    outcome: Literal["passed", "failed", "skipped"]
    duration_s: float
    detail: str = ""
    artifacts: list[str] = []
    """Trace and screenshot, relative to the run folder."""
    expected_to_fail: bool = False
    """Whether the test is marked as a known failure: `skipped` then means that it failed as expected, `passed` that it
    passed although it was expected to fail."""


class BrowserSession(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the browser suites as pytest saw it (`evidence/e2e/session.json`)."""

    selected: list[str] | None = None
    """The tests that were to run; None if they were never collected."""
    errors: list[str] = []
    """What failed outside of any test: files that cannot be imported, errors of pytest's own."""
    exit_code: int | None = None
    """pytest's exit code, a negative one is the signal that killed it; None if it did not end by itself."""
    said: str = ""
    """Its last line, or why it was ended."""

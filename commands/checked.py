"""What `./covenant test` checks: style, types, import rules, declarations, then the tests, counted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from junitparser import JUnitXml

from infra.machine.progress import say

_BIN = Path(sys.executable).parent
_STATIC = (
    ("style", ("ruff", "check", "--quiet")),
    ("format", ("ruff", "format", "--check", "--quiet")),
    ("types", ("mypy", "--no-error-summary")),
    ("import rules", ("lint-imports", "--no-logo")),
    ("declarations", ("python", "-m", "commands.declarations")),
)
_NO_TESTS = 5
SHARED = "running or browser"
"""Marks of the tests that share one running system: they run one after the other, the rest in parallel."""


class Tally(NamedTuple):
    """Tests by outcome; `broken`: pytest itself failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: bool = False

    def __add__(self, other: object) -> Tally:
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.broken or other.broken,
        )

    def __str__(self) -> str:
        return f"tests: {self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def static(checkout: Path) -> list[str]:
    """Run the checks that start nothing; the names of those that failed, whose output is shown on stderr."""
    failed = []
    for name, (program, *arguments) in _STATIC:
        began = time.monotonic()
        done = subprocess.run(
            [str(_BIN / program), *arguments], cwd=checkout, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            failed.append(name)
            say((done.stdout + done.stderr).rstrip())
        say(f"{name}: {'failed' if done.returncode else 'ok'} ({time.monotonic() - began:.0f} s)")
    return failed


def tally(code: int, suites: JUnitXml) -> Tally:
    """The tests by outcome, from pytest's exit code and its JUnit XML. Broken if the two contradict each other: an exit
    code 1 without a failure, as a plugin or a warning at the end of the session gives, is no pass."""
    failed = suites.failures + suites.errors
    passed = suites.tests - failed - suites.skipped
    return Tally(passed, failed, suites.skipped, broken=code not in (0, 1) or (code == 1) != (failed > 0))


def pytest(checkout: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Tally:
    """Run pytest, its output passed through; no test selected is no failure."""
    with tempfile.TemporaryDirectory(prefix="covenant-test-") as scratch:
        xml = Path(scratch) / "junit.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={xml}", *arguments]
        code = subprocess.run(command, cwd=checkout, env={**os.environ, **environment}, check=False).returncode
        if code == _NO_TESTS:
            return Tally()
        if not xml.exists():
            return Tally(broken=True)
        suites = JUnitXml.fromfile(str(xml))
    return tally(code, suites)

"""Runs the browser suites in a process of their own, without retries, and keeps traces and screenshots of failures."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from e2e.browser import VARIABLE, Browser
from e2e.recording import FOLDER
from infra import target
from reports.evidence import BrowserSession, RunFolder

WITHIN_S = 900.0
_COLLECTED_WITHIN_S = 60
_SUITES = Path(__file__).parent
_CHECKOUT = _SUITES.parent


def run(
    browsers: Sequence[Browser],
    folder: RunFolder,
    target_path: Path,
    arguments: Sequence[str],
    *,
    root: Path = _SUITES,
    chosen: Sequence[str] = (),
    within_s: float = WITHIN_S,
) -> BrowserSession:
    """Run the `chosen` suites below `root` (default: all) in each browser, with further pytest `arguments`, and leave
    their evidence in `evidence/e2e/`.

    Whatever happens is evidence and no error: a test that fails, a file that cannot be imported, a pytest that is
    killed or has not ended after `within_s` seconds. The verdict decides what it means.
    """
    artifacts = folder.evidence / "e2e" / "artifacts"
    log = folder.evidence / "e2e" / "pytest.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    executable = next((browser.executable for browser in browsers if browser.executable), None)
    environment = {
        **os.environ,
        target.VARIABLE: str(target_path),
        FOLDER: str(folder.path),
        VARIABLE: executable or "",
    }
    command = [
        *_pytest(_paths(root, chosen)), "-p", "e2e.recording", "--tracing=retain-on-failure",
        "--screenshot=only-on-failure", f"--output={artifacts}",
        *(f"--browser={browser.engine}" for browser in browsers), *arguments,
    ]  # fmt: skip
    # Written first: without an end, the record says that there was none.
    folder.write_browser_session(BrowserSession())
    with log.open("wb") as file:
        try:
            code = subprocess.run(
                command, env=environment, cwd=_CHECKOUT, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                timeout=within_s, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return _ended(folder, None, f"the suites did not end within {within_s:g} s")
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
    return _ended(folder, code, last[0])


def collect(
    browsers: Sequence[Browser], arguments: Sequence[str], *, root: Path = _SUITES, chosen: Sequence[str] = ()
) -> list[str] | None:
    """The ids of the tests that `run` would run, by another pytest that runs none of them; None if it cannot tell."""
    with tempfile.TemporaryDirectory(prefix="covenant-collected-") as scratch:
        folder = RunFolder.create(Path(scratch))
        command = [
            *_pytest(_paths(root, chosen)), "--collect-only", "-p", "e2e.recording",
            *(f"--browser={browser.engine}" for browser in browsers), *arguments,
        ]  # fmt: skip
        try:
            subprocess.run(
                command, env={**os.environ, FOLDER: scratch}, cwd=_CHECKOUT, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_COLLECTED_WITHIN_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        session = folder.browser_session()
        return session.selected if session else None


def wrong_usage(arguments: Sequence[str]) -> str | None:
    """Why pytest would not run any suite with these arguments, found without a system; None if it would."""
    command = [*_pytest([_SUITES]), "--collect-only", *arguments]
    done = subprocess.run(
        command, cwd=_CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COLLECTED_WITHIN_S,
        check=False,
    )  # fmt: skip
    if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
        return f"no browser test is selected by {shlex.join(arguments)}"
    if done.returncode != pytest.ExitCode.USAGE_ERROR:
        return None
    errors = re.findall(r"(?:error|ERROR): (?!usage)(.+)", done.stderr)
    return f"pytest cannot run with {shlex.join(arguments)}: {(errors or ['wrong usage'])[0].strip()[:300]}"


def suites() -> list[str]:
    """Every suite of ours, by its file's path below `e2e/`."""
    ours = (path.relative_to(_SUITES) for path in _SUITES.rglob("test_*.py"))
    return sorted(str(path) for path in ours if path.parts[0] != "tests")


def _pytest(paths: Sequence[Path]) -> list[str]:
    configuration = ["-c", str(_CHECKOUT / "pyproject.toml")]
    return [sys.executable, "-m", "pytest", *map(str, paths), *configuration, f"--ignore={_SUITES / 'tests'}"]


def _paths(folder: Path, chosen: Sequence[str]) -> list[Path]:
    return [folder / name for name in chosen] or [folder]


def _ended(folder: RunFolder, code: int | None, said: str) -> BrowserSession:
    session = structs.replace(folder.browser_session() or BrowserSession(), exit_code=code, said=said)
    folder.write_browser_session(session)
    return session

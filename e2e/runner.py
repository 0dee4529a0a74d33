"""Runs the browser suites in a process of their own, without retries, and keeps traces and screenshots of failures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.browser import VARIABLE, Browser
from infra import target
from reports.evidence import RunFolder

RUN_FOLDER = "COVENANT_RUN_FOLDER"
_WITHIN_S = 900.0
_SUITES = Path(__file__).parent


class SuiteError(Exception):
    """The suites could not be run; says why."""


def suites() -> list[str]:
    """Every suite, by its file's path below `e2e/`."""
    return sorted(str(path.relative_to(_SUITES)) for path in _SUITES.rglob("test_*.py"))


def run(
    browser: Browser, folder: RunFolder, target_path: Path, arguments: list[str], *, chosen: Sequence[str] = (),
    within_s: float = _WITHIN_S,
) -> None:  # fmt: skip
    """Run the `chosen` suites, by default all, with further pytest `arguments`, and leave their evidence in
    `evidence/e2e/`. A failing test is evidence and no error; SuiteError if pytest itself could not run the suites, or
    not `within_s`."""
    artifacts = folder.evidence / "e2e" / "artifacts"
    log = folder.evidence / "e2e" / "pytest.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        target.VARIABLE: str(target_path),
        RUN_FOLDER: str(folder.path),
        VARIABLE: browser.executable or "",
    }
    command = [
        sys.executable, "-m", "pytest", *map(str, _paths(chosen)), "--tracing=retain-on-failure",
        "--screenshot=only-on-failure", f"--output={artifacts}", *arguments,
    ]  # fmt: skip
    with log.open("wb") as file:
        try:
            done = subprocess.run(
                command, env=environment, cwd=_SUITES.parent, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                timeout=within_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SuiteError(f"the suites did not end within {within_s:.0f} s; see {log}") from None
    if done.returncode not in (0, 1):
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
        raise SuiteError(f"pytest ended with exit code {done.returncode}: {last[0]}; see {log}")


def _paths(chosen: Sequence[str]) -> list[Path]:
    return [_SUITES / name for name in chosen] or [_SUITES]

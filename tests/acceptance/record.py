"""What acceptance scripts have in common: a run of the command line, and the lines that are kept of runs.

Every run counts, whatever came of it, and no line is dropped. A line is valid until a commit touches what it measures.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ("system", "infra", "ledger", "loadtests", "chaos", "checks", "commands", "reports", "e2e")
WITHIN_S = 1800

Line = dict[str, Any]


def run(command: str, environment: Mapping[str, str] | None = None, within_s: float = WITHIN_S) -> Line:
    """Run `./covenant COMMAND` and describe it: commit, machine, command, exit code, verdict, minutes, and the SHA-256
    of its `report.json`, which stays in `reports/runs/`."""
    began = time.monotonic()
    place = ROOT / "reports" / "runs" / f"acceptance-{time.time_ns()}"
    done = subprocess.run(
        ["./covenant", *command.split(), "--out", str(place)], cwd=ROOT, timeout=within_s, check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    report = place / "report.json"
    return {
        "commit": _git("rev-parse", "HEAD"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "command": command,
        "exit_code": done.returncode,
        "verdict": json.loads(report.read_text())["verdict"] if report.exists() else None,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "evidence_sha256": hashlib.sha256(report.read_bytes()).hexdigest() if report.exists() else None,
    }


def append(path: Path, line: Line) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def valid(path: Path) -> Sequence[Line]:
    """The lines since whose commit nothing that they measure has changed."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    unchanged = {commit: _unchanged(commit) for commit in {line["commit"] for line in lines}}
    return [line for line in lines if unchanged[line["commit"]]]


def _unchanged(commit: str) -> bool:
    command = ["git", "diff", "--quiet", commit, "HEAD", "--", *MEASURED]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()

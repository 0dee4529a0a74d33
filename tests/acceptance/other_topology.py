"""Smoke and every experiment of core on a topology whose primary stands elsewhere.

Run as `python tests/acceptance/other_topology.py`.

It can be interrupted and run again: each run appends a line to `other_topology.jsonl`, and what has a valid line is
not run again. A line is valid until a commit touches what it measures. Every run counts, whatever came of it. With
`--again` everything is run once more.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = Path(__file__).with_suffix(".jsonl")
TOPOLOGY = Path(__file__).with_suffix(".toml")
MEASURED = ("system", "infra", "ledger", "loadtests", "chaos", "checks", "commands", "reports", "e2e")
NEEDS_FULL = ("gateway-cut", "region-loss")
WITHIN_S = 1800


def main() -> int:
    """The exit code: 1 if a run ended with another code than 0 (GO) or 1 (a miss, which the report explains)."""
    done = [] if "--again" in sys.argv else [line["command"] for line in lines() if still_valid(line["commit"])]
    for command in commands():
        if command not in done:
            line = run(command)
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{command}: {line['verdict']}", flush=True)
    return int(any(line["exit_code"] not in (0, 1) for line in lines() if still_valid(line["commit"])))


def commands() -> list[str]:
    experiments = sorted(path.stem for path in (ROOT / "chaos" / "experiments").glob("*.yaml"))
    return [
        "nightly --profile smoke",
        *(f"chaos run {name}" for name in experiments if name not in NEEDS_FULL),
    ]


def run(command: str) -> dict[str, object]:
    began = time.monotonic()
    place = ROOT / "reports" / "runs" / f"acceptance-{time.time_ns()}"
    done = subprocess.run(
        ["./covenant", *command.split(), "--out", str(place)], cwd=ROOT, timeout=WITHIN_S, check=False,
        env={**os.environ, "COVENANT_TOPOLOGY": str(TOPOLOGY)},
    )  # fmt: skip
    report = place / "report.json"
    return {
        "commit": git("rev-parse", "HEAD"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "command": command,
        "exit_code": done.returncode,
        "verdict": json.loads(report.read_text())["verdict"] if report.exists() else None,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "evidence_sha256": hashlib.sha256(report.read_bytes()).hexdigest() if report.exists() else None,
    }


def lines() -> list[dict[str, object]]:
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


def still_valid(commit: object) -> bool:
    """Whether nothing that was measured has changed since."""
    command = ["git", "diff", "--quiet", str(commit), "HEAD", "--", *MEASURED]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

"""Smoke and every experiment of core on a topology whose primary stands elsewhere.

Run as `python tests/acceptance/other_topology.py`; interrupted, it goes on where it was. Each run appends a line to
`other_topology.jsonl`, and what has a valid line is not run again; with `--again` everything is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import record

LINES = Path(__file__).with_suffix(".jsonl")
TOPOLOGY = Path(__file__).with_suffix(".toml")
NEEDS_FULL = ("gateway-cut", "region-loss")


def main() -> int:
    """The exit code: 1 if a run ended with another code than 0 (GO) or 1 (a miss, which the report explains)."""
    done = [] if "--again" in sys.argv else [line["command"] for line in record.valid(LINES)]
    for command in commands():
        if command not in done:
            line = record.run(command, {"COVENANT_TOPOLOGY": str(TOPOLOGY)})
            record.append(LINES, line)
            print(f"{command}: {line['verdict']}", flush=True)
    return int(any(line["exit_code"] not in (0, 1) for line in record.valid(LINES)))


def commands() -> list[str]:
    experiments = sorted(path.stem for path in (record.ROOT / "chaos" / "experiments").glob("*.yaml"))
    return [
        "nightly --profile smoke",
        *(f"chaos run {name}" for name in experiments if name not in NEEDS_FULL),
    ]


if __name__ == "__main__":
    sys.exit(main())

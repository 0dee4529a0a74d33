"""What takes a night: the whole nightly, and three soaks of half an hour.

Run as `python tests/acceptance/nights.py`; interrupted, it goes on where it was. Each run appends a line to
`nights.jsonl`; valid lines count.
"""

from __future__ import annotations

import sys
from pathlib import Path

import record

LINES = Path(__file__).with_suffix(".jsonl")
COMMANDS = {"nightly --profile nightly": 1, "nightly --profile soak --duration 30m": 3}
"""Command -> how many runs of it."""
WITHIN_S = 4500
NIGHT_MINUTES_MOST = 60.0
VERDICTS = (0, 1, 3, 4)
INTERRUPTED = 130


def main() -> int:
    """The exit code: 0 if each run came to a verdict, and the nights within an hour; 130 if one was interrupted."""
    for command, wanted in COMMANDS.items():
        for _ in range(wanted - len(made(command))):
            line = record.run(command, within_s=WITHIN_S)
            record.append(LINES, line)
            print(f"{command}: {line['verdict']}, exit code {line['exit_code']}, {line['minutes']} min", flush=True)
            if line["exit_code"] == INTERRUPTED:
                return INTERRUPTED
    lines = [line for command in COMMANDS for line in made(command)]
    late = [line for line in lines if "soak" not in line["command"] and line["minutes"] > NIGHT_MINUTES_MOST]
    return int(bool(late) or any(line["exit_code"] not in VERDICTS for line in lines))


def made(command: str) -> list[record.Line]:
    return [line for line in record.valid(LINES) if line["command"] == command]


if __name__ == "__main__":
    sys.exit(main())

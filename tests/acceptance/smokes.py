"""Ten smoke runs in a row on a quiet machine, and three beside a program that takes 30% of a core.

Run as `python tests/acceptance/smokes.py`; interrupted, it goes on where it was. Each run appends a line to
`smokes.jsonl`; valid lines count towards the ten and the three.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import record

LINES = Path(__file__).with_suffix(".jsonl")
COMMAND = "nightly --profile smoke"
ALONE, BESIDE = 10, 3
GO_LEAST = 9
MINUTES_MOST = 8.0
INTERRUPTED = 130
BUSY = """
import time
while True:
    end = time.monotonic() + 0.03
    while time.monotonic() < end:
        pass
    time.sleep(0.07)
"""


def main() -> int:
    """The exit code: 0 if at least nine of ten were GO in time, and none of the three FAIL or INCONCLUSIVE; 130 if one
    was interrupted, which is a line like any other."""
    for beside, wanted in ((False, ALONE), (True, BESIDE)):
        for _ in range(wanted - len(made(beside=beside))):
            with busy() if beside else nothing():
                line = record.run(COMMAND) | {"beside": "a program that takes 30% of a core" if beside else None}
            record.append(LINES, line)
            print(f"{line['verdict']}, exit code {line['exit_code']}, {line['minutes']} min", flush=True)
            if line["exit_code"] == INTERRUPTED:
                return INTERRUPTED
    alone, beside_others = made(beside=False), made(beside=True)
    go = sum(line["exit_code"] == 0 and line["minutes"] <= MINUTES_MOST for line in alone)
    codes = [line["exit_code"] for line in beside_others]
    print(f"alone: {go} of {len(alone)} GO within {MINUTES_MOST:g} min; beside a busy program: exit codes {codes}")
    return int(go < GO_LEAST or any(code not in (0, 4) for code in codes))


def made(*, beside: bool) -> list[record.Line]:
    return [line for line in record.valid(LINES) if bool(line["beside"]) == beside]


@contextmanager
def busy() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as program:
        try:
            yield
        finally:
            program.kill()


@contextmanager
def nothing() -> Iterator[None]:
    yield


if __name__ == "__main__":
    sys.exit(main())

"""A planted bug with a system of its own, in the middle of a run: `./covenant plant BUG` as a process of its own.

It reports like any run; what its rows say becomes evidence of the run that it is a part of. It is ended in order when
that run is: by SIGTERM, as which it heals, stops its system, and reports.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.plants import Plant
from commands.run.session import StepFailed, undisturbed
from infra.fabric.process import homes
from infra.machine import processes
from infra.machine.checkout import CHECKOUT
from infra.machine.progress import Report, say
from reports.evidence import PlantedBug, RunFolder
from reports.evidence.folder import EvidenceError, read_record
from reports.model import Document, Row

_LONGEST = 3.0
"""As many times its usual length a bug may take; its own steps have deadlines, and each is shorter."""
_ENDS_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.5
_REPORTED = (0, 1, 3, 4)
"""Exit codes of a run that came to a verdict."""


def command(bug: Plant, folder: Path) -> list[str]:
    """The command line that runs the bug's own cheapest command, and writes the run to `folder`."""
    return [sys.executable, "-m", "covenant", "plant", bug.name, "--", *bug.command, "--out", str(folder)]


def run_planted(bug: Plant, night: RunFolder, progress: Report, *, argv: list[str] | None = None) -> None:
    """Run it and leave its record in the folder of the night. StepFailed if it came to no verdict. `argv` is what is
    started instead of `command`."""
    place, begin_ns = night.planted_dir(bug.name), time.monotonic_ns()
    place.parent.mkdir(exist_ok=True)
    problem: str | None = "it was ended before it came to a verdict"
    try:
        problem = _follow(argv or command(bug, place), place.with_suffix(".log"), progress, bug.takes_s * _LONGEST)
    finally:
        night.write_planted(record(bug, place, begin_ns, time.monotonic_ns(), problem, night.path))
    if problem is not None:
        raise StepFailed(problem)


def record(bug: Plant, place: Path, begin_ns: int, end_ns: int, problem: str | None, night: Path) -> PlantedBug:
    """What the run in the folder `place` says of the bug."""
    judged: list[Row] = []
    if problem is None:
        try:
            rows = read_record(place / "report.json", Document).slos
            judged = [row for row in rows if row.verdict != "NOT_JUDGED"]
        except EvidenceError as error:
            problem = f"it left no report: {error}"
    return PlantedBug(
        name=bug.name,
        red=list(bug.red),
        may=list(bug.may),
        folder=str(place.relative_to(night)),
        begin_ns=begin_ns,
        end_ns=end_ns,
        rows={row.id: row.verdict for row in judged},
        whys={row.id: row.why for row in judged if row.verdict not in ("PASS", "FAIL")},
        problem=problem,
    )


def _follow(argv: list[str], log: Path, progress: Report, within_s: float) -> str | None:
    """Show its last line until it has ended; None, or why it came to no verdict."""
    deadline, began = time.monotonic() + within_s, time.monotonic()
    with _started(argv, log) as process, log.open(errors="replace") as lines:
        text = "starting"
        while (code := process.poll()) is None:
            for line in lines:
                text = line.strip() or text
            progress(min(1.0, (time.monotonic() - began) / within_s), text)
            if time.monotonic() > deadline:
                return f"it did not end within {within_s:.0f} s; see {log}"
            time.sleep(_LOOK_EVERY_S)
    if code in _REPORTED:
        return None
    last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    return f"exit code {code}: {last}; see {log}"


@contextmanager
def _started(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process; afterwards it has ended, whatever happened. Its output goes to a file: were it a pipe, it could not
    even say that it stops once we are gone."""
    ours = (processes.HOME, processes.RUN_ID, processes.KIND)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    with log.open("wb") as file:
        process = processes.spawn(argv, environment=environment, folder=CHECKOUT, log=file)
    try:
        yield process
    finally:
        with undisturbed():
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    say("ending the system with the planted bug")
    if not processes.end(process, _ENDS_WITHIN_S, signal.SIGTERM):
        homes.clean_up(CHECKOUT)

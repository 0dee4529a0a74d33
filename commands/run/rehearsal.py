"""Tries loads for a few seconds before they are made: whether this machine, now, can carry them with their generators
on time. So a machine that is too small is told before the load and not after it.

A rehearsal is the load itself in short, with the same generator against the same system, and is trusted by the same
rule. The load is made whatever it shows: what it measures on time counts as ever.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import reports
from commands.run.programme import REHEARSAL
from commands.run.repeats import sampled
from commands.run.session import Session, StepFailed
from infra.machine.progress import say
from loadtests import run as load_runner
from loadtests.arrivals.arrival_process import even
from loadtests.locust_process import LoadError
from loadtests.request import CheckedRequest
from reports.evidence import Load, RunFolder
from reports.model import Rehearsed

_MEASURED_S = 4.0
_WARMUP_S = 1.0
_TRIES = 2
"""One may fall into a bad moment of the machine: only if both are late, the load is expected to be."""


def rehearse(run: Session, loads: Sequence[CheckedRequest]) -> None:
    """Try each load, keep what was measured as the run's evidence, and say in a line what is to be expected of it."""
    if not loads:
        return
    with run.phase(REHEARSAL) as progress:
        for number, asked in enumerate(loads):
            progress(number / len(loads), f"trying {asked.scenario.name}")
            try:
                found = _tried(run, asked)
            except LoadError as error:
                raise StepFailed(str(error)) from error
            say(found.says)
            run.note("note", asked.scenario.name, found.says)


def short(asked: CheckedRequest) -> CheckedRequest:
    """The same load at its highest rate, for a few seconds."""
    return replace(asked, arrival=even(asked.arrival.peak_rate, _MEASURED_S), warmup_s=_WARMUP_S, web=False)


def _tried(run: Session, asked: CheckedRequest) -> Rehearsed:
    """What one load's rehearsals say; a second one only if the first was late. LoadError."""
    for number in range(1, _TRIES + 1):
        load = _made(run, short(asked))
        run.folder.write_rehearsal(load, number)
        sampled(run.folder, load.end_ns)
        found = next(each for each in reports.assess(run.folder).rehearsed if each.scenario == load.scenario)
        if found.outcome == "carried":
            break
    return found


def _made(run: Session, asked: CheckedRequest) -> Load:
    """The load's record. Its ledger is not looked into: nothing is judged by a rehearsal but its own schedule."""
    with tempfile.TemporaryDirectory(prefix="covenant-rehearsal-") as scratch:
        folder = RunFolder.create(Path(scratch))
        load_runner.run(asked, folder=folder, target_path=run.system.target_path)
        return next(each for each in folder.loads() if each.scenario == asked.scenario.name)

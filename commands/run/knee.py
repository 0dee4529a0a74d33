"""The search for a knee on one running system: the shell around `loadtests.search.knee`.

Every try is a load with a folder of its own below `evidence/knee/`, which is judged like a run's. What was measured at
the highest rate that held is the run's own evidence, too, so that its rows are shown as at the knee.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from msgspec import structs

import reports.verdict.knee
from commands.exit_codes import EXIT_USAGE, fail
from commands.run import steps
from commands.run.session import Session, StepFailed
from infra.machine.progress import say
from loadtests.arrivals.schedule import MAX_RATE_PER_S
from loadtests.request import Request, check
from loadtests.search.knee import Search, with_room
from reports import assess
from reports.evidence import HostSample, Knee, KneeEnd, KneeStep, RunFolder
from reports.findings import loaded
from reports.policy.policy import load_policy

STEP_S = 15.0
"""Measured in a try, at most; a scenario that is shorter by itself stays so."""
_LONGER_MAX = 4.0
"""How much longer a try is below the first rate, so that it has as many operations."""
_SAMPLED_WITHIN_S = 3.0
"""The machine is sampled once a second: the last sample of a load comes after it."""
_LOOK_EVERY_S = 0.1
_WITH_ROOM_TRIES = 3
_ROOM_AFTER: tuple[KneeEnd | None, ...] = ("found", "late", "above")
"""How a search ends that knows a rate which held twice."""
_OF_A_LOAD = ("load", "ledger", "hops")


def run_knee(request: Request, *, most: float | None, resolution: float, out: Path | None) -> None:
    """Search from the request's rate on, and report; ends the process with the verdict, or as wrong usage."""
    try:
        scenario = check(request).scenario
        first = request.rate or scenario.rate
        search = Search(first, most or MAX_RATE_PER_S, resolution)
    except ValueError as error:
        fail(EXIT_USAGE, str(error))
    step_s = request.duration_s or min(STEP_S, scenario.duration_s)
    knee = Knee(scenario=scenario.name, unit=scenario.unit, step_s=step_s, resolution=resolution)
    with steps.session(f"load.{scenario.name}", seed=request.seed, out=out) as run:
        run.start()
        tries = _Tries(run, structs.replace(request, rate=first, duration_s=step_s), knee)
        try:
            tries.search(search)
        finally:
            tries.close()


class _Tries:
    """The tries of a search, and the record of them."""

    def __init__(self, run: Session, first: Request, knee: Knee) -> None:
        self._run = run
        self._first = first
        self._knee = knee
        self._policy = load_policy()

    def search(self, search: Search) -> None:
        """The record is written after every try, so that an interrupted search keeps what it had."""
        while (rate := search.next()) is not None:
            step = self._try(rate)
            search.tell(rate, step.outcome)
            self._tell("at", step)
            self._record(search, step)
        self._record(search)
        if search.held is not None and search.ended in _ROOM_AFTER:
            self._with_room(with_room(search.held))

    def _with_room(self, rate: float) -> None:
        """How the system does with room to its knee; tries that say nothing of the system are made again."""
        for _ in range(_WITH_ROOM_TRIES):
            step = self._try(rate)
            self._tell("with room to its knee, at", step)
            self._knee = structs.replace(self._knee, with_room=[*self._knee.with_room, step])
            self._run.folder.write_knee(self._knee)
            if step.outcome not in ("late", "disturbed"):
                return

    def _tell(self, where: str, step: KneeStep) -> None:
        say(f"{self._first.scenario} {where} {step.rate:g}/s: {step.outcome}" + (f": {step.why}" if step.why else ""))

    def close(self) -> None:
        """Make the best try's evidence that of the run: of the highest rate that held, else of the lowest."""
        tries = [step for step in self._knee.steps if step.outcome != "failed"]
        held = [step for step in tries if step.rate == self._knee.held and step.outcome == "held"]
        if not tries:
            return
        best = held[-1] if held else min(reversed(tries), key=lambda step: step.rate)
        for part in _OF_A_LOAD:
            source = self._run.folder.path / best.folder / "evidence" / part
            if source.exists():
                shutil.copytree(source, self._run.folder.evidence / part, dirs_exist_ok=True)

    def _record(self, search: Search, *steps: KneeStep) -> None:
        self._knee = structs.replace(
            self._knee, held=search.held, missed=search.missed, end=search.ended, steps=[*self._knee.steps, *steps]
        )
        self._run.folder.write_knee(self._knee)

    def _try(self, rate: float) -> KneeStep:
        name = self._first.scenario
        path = self._run.folder.knee_dir(name) / f"{len(self._knee.steps) + len(self._knee.with_room) + 1:02}-{rate:g}"
        folder = RunFolder.create(path)
        begin_ns = time.monotonic_ns()
        problem: list[str] = []
        with self._run.phase(f"{name} {rate:g}/s") as progress:
            longer = min(_LONGER_MAX, max(1.0, (self._first.rate or rate) / rate))
            asked = structs.replace(self._first, rate=rate, duration_s=self._knee.step_s * longer)
            try:
                steps.make_load(self._run, check(asked), folder, progress)
            except StepFailed as error:
                problem.append(str(error).partition("\n")[0])  # The rest is its log, which is in the folder.
                raise
        where = str(path.relative_to(self._run.folder.path))
        if problem or name not in [load.scenario for load in folder.loads()]:
            why = "; ".join(problem) or "it left no record"
            return KneeStep(
                rate=rate, folder=where, begin_ns=begin_ns, end_ns=time.monotonic_ns(), outcome="failed", why=why
            )
        self._complete(folder, begin_ns)
        return reports.verdict.knee.step(name, rate, where, loaded.load(folder), assess(folder), self._policy)

    def _complete(self, folder: RunFolder, begin_ns: int) -> None:
        """Give a try what it has of the whole run: what was run, the machine meanwhile, and who died."""
        until_ns = max(load.end_ns for load in folder.loads())
        run, whole = self._run.run, self._run.folder
        folder.write_run(structs.replace(run, state="finished", finished_at=run.started_at))
        if (found := whole.preflight()) is not None:
            folder.write_preflight(found)
        with folder.host() as samples:
            samples.add(*[sample for sample in self._sampled(until_ns) if sample.at_ns >= begin_ns])
        with folder.timeline() as timeline:
            moments = [moment for moment in whole.moments() if moment.kind == "part_died" and moment.at_ns >= begin_ns]
            timeline.add(*moments)

    def _sampled(self, until_ns: int) -> list[HostSample]:
        """The machine up to that instant, as far as it is known within a moment."""
        deadline = time.monotonic() + _SAMPLED_WITHIN_S
        while True:
            samples = self._run.folder.host_samples()
            if (samples and samples[-1].at_ns >= until_ns) or time.monotonic() > deadline:
                return samples
            time.sleep(_LOOK_EVERY_S)

"""The search for a knee on one running system: the shell around `loadtests.search.knee`.

Every try is a load with a folder of its own below `evidence/knee/`, which is judged like a run's. What was measured at
the highest rate that held is the run's own evidence, too, so that its rows are shown as at the knee.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec import structs

from commands.exit_codes import EXIT_USAGE, fail
from commands.run import expected, steps
from commands.run.repeats import sampled
from commands.run.session import StepFailed
from infra.machine.progress import Report, say
from infra.machine.waiting import Clock
from loadtests.arrivals.schedule import MAX_RATE_PER_S
from loadtests.request import CheckedRequest, Request, check
from loadtests.search.knee import Search, with_room
from reports import assess
from reports.evidence import Knee, KneeEnd, KneeStep, Run, RunFolder
from reports.evidence.closing import copy_closed, name_of
from reports.evidence.expected import session_path
from reports.findings import loaded
from reports.policy.policy import Policy, load_policy
from reports.verdict import knee as verdict

STEP_S = 15.0
"""The longest that a try measures; a shorter scenario keeps its length."""
_LONGER_MAX = 4.0
"""The most by which a try below the first rate is stretched, so that it has as many operations."""
_WITH_ROOM_TRIES = 3
_ROOM_AFTER: tuple[KneeEnd | None, ...] = ("found", "late", "above")
"""The end of a search that has seen a rate hold twice."""
_OF_A_LOAD = ("load", "ledger", "hops", "expected")


class RunOfTries(Protocol):
    """The run that a search is part of; a `Session` is one."""

    run: Run
    folder: RunFolder

    def phase(self, name: str) -> AbstractContextManager[Report]:
        """A context around one try; it notes a StepFailed and goes on."""


MakeLoad = Callable[[CheckedRequest, RunFolder, Report], None]
"""Makes a load whose evidence goes to the folder. StepFailed if it could not be made."""
Judge = Callable[[str, float, str, RunFolder], KneeStep]
"""(scenario, rate, the folder's name in the record, folder): what a try whose load was made came to."""


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
    with steps.session(_profile(scenario.name), seed=request.seed, out=out) as run:
        run.start()
        tries = KneeRun(
            run, structs.replace(request, rate=first, duration_s=step_s), knee, make_load=partial(steps.make_load, run),
            judge=partial(judge_try, load_policy()), say=say, clock=time,
        )  # fmt: skip
        try:
            tries.search(search)
        finally:
            tries.close()


def _profile(scenario: str) -> str:
    """A scenario's own, or that of a search for its knee, where a try is too short for some of its rows."""
    own = f"knee.{scenario}"
    return own if own in load_policy().profiles else f"load.{scenario}"


def judge_try(policy: Policy, scenario: str, rate: float, where: str, folder: RunFolder) -> KneeStep:
    """A try is judged like a run of its own."""
    return verdict.step(scenario, rate, where, loaded.load(folder), assess(folder), policy)


class KneeRun:
    """The tries of a search, and the record of them."""

    def __init__(
        self, run: RunOfTries, first: Request, knee: Knee, *, make_load: MakeLoad, judge: Judge,
        say: Callable[[str], None], clock: Clock,
    ) -> None:  # fmt: skip
        """`first` is the try to begin with; the others differ from it in rate and duration. `say` takes a line for
        each."""
        self._run = run
        self._first = first
        self._knee = knee
        self._make_load = make_load
        self._judge = judge
        self._say = say
        self._clock = clock

    def search(self, search: Search) -> None:
        """The record is written after every try, so that an interrupted search keeps what it had."""
        while (rate := search.next()) is not None:
            tried = self._try(rate)
            search.record(rate, tried.outcome)
            self._announce("at", tried)
            self._record(search, tried)
        self._record(search)
        if search.held is not None and search.ended in _ROOM_AFTER:
            self._with_room(with_room(search.held))

    def close(self) -> None:
        """Copy one try's evidence to the run: of the highest rate that held, else of the lowest that was tried."""
        tries = [tried for tried in self._knee.steps if tried.outcome != "failed"]
        held = [tried for tried in tries if tried.rate == self._knee.held and tried.outcome == "held"]
        if not tries:
            return
        best = held[-1] if held else min(reversed(tries), key=lambda tried: tried.rate)
        tried, mine = RunFolder(self._run.folder.path / best.folder), self._run.folder
        paths = [path for part in _OF_A_LOAD for path in (tried.evidence / part).rglob("*") if path.is_file()]
        copied = [name for path in paths if (name := name_of(tried.evidence, path)) != session_path()]
        for name in copied:
            (mine.evidence / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tried.evidence / name, mine.evidence / name)
        copy_closed(tried.evidence, mine.evidence, copied)
        if counts := tried.counts():
            with mine.facts() as facts:
                facts.add(*counts)

    def _with_room(self, rate: float) -> None:
        """Try a rate below the knee; a late or a disturbed try says nothing of the system and is repeated."""
        for _ in range(_WITH_ROOM_TRIES):
            tried = self._try(rate)
            self._announce("with room to its knee, at", tried)
            self._knee = structs.replace(self._knee, with_room=[*self._knee.with_room, tried])
            self._run.folder.write_knee(self._knee)
            if tried.outcome not in ("late", "disturbed"):
                return

    def _announce(self, where: str, tried: KneeStep) -> None:
        why = f": {tried.why}" if tried.why else ""
        self._say(f"{self._first.scenario} {where} {tried.rate:g}/s: {tried.outcome}{why}")

    def _record(self, search: Search, *tried: KneeStep) -> None:
        self._knee = structs.replace(
            self._knee, held=search.held, missed=search.missed, end=search.ended, steps=[*self._knee.steps, *tried]
        )
        self._run.folder.write_knee(self._knee)

    def _try(self, rate: float) -> KneeStep:
        name, number = self._first.scenario, len(self._knee.steps) + len(self._knee.with_room) + 1
        path = self._run.folder.knee_dir(name) / f"{number:02}-{rate:g}"
        where, folder = str(path.relative_to(self._run.folder.path)), RunFolder.create(path)
        begin_ns = self._clock.monotonic_ns()
        problem = self._offer(rate, folder)
        if problem is None and name not in [load.scenario for load in folder.loads()]:
            problem = "it left no record"
        if problem is not None:
            end_ns = self._clock.monotonic_ns()
            return KneeStep(rate=rate, folder=where, begin_ns=begin_ns, end_ns=end_ns, outcome="failed", why=problem)
        self._complete(folder, begin_ns)
        return self._judge(name, rate, where, folder)

    def _offer(self, rate: float, folder: RunFolder) -> str | None:
        """Make the load of a try; why it could not be made."""
        problem: str | None = None
        longer = min(_LONGER_MAX, max(1.0, (self._first.rate or rate) / rate))
        asked = structs.replace(self._first, rate=rate, duration_s=self._knee.step_s * longer)
        with self._run.phase(f"{self._first.scenario} {rate:g}/s") as progress:
            try:
                self._make_load(check(asked), folder, progress)
            except StepFailed as error:
                problem = str(error).partition("\n")[0]  # The rest is its log, which is in the folder.
                raise
        return problem

    def _complete(self, folder: RunFolder, begin_ns: int) -> None:
        """Copy to a try's folder what was recorded for the whole run: the request, the machine, the deaths. All of that
        is the run's, and what it expects of it is said by the run."""
        until_ns = max(load.end_ns for load in folder.loads())
        run, whole = self._run.run, self._run.folder
        folder.write_run(structs.replace(run, state="finished", finished_at=run.started_at))
        if (found := whole.preflight()) is not None:
            folder.write_preflight(found)
        with folder.host() as samples:
            samples.add(*[sample for sample in sampled(whole, until_ns, self._clock) if sample.at_ns >= begin_ns])
        with folder.timeline() as timeline:
            events = [
                event for event in whole.timeline_events() if event.kind == "part_died" and event.at_ns >= begin_ns
            ]
            timeline.add(*events)
        folder.write_expected(expected.of_run(folder, run))

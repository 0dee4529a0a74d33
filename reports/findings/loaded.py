"""Everything that a run left behind, in memory: the verdict is computed from it.

It is a plain struct, so that a test can write it down literally. If one file is damaged (the disk filled up in the
middle of a line), the others are still read: its records count as missing, and `problems` names it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from reports.evidence import (
    BrowserSession,
    BrowserTest,
    Calibration,
    Connections,
    Consistency,
    Count,
    Expected,
    Experiment,
    Failure,
    Hop,
    HostSample,
    Kept,
    Knee,
    LeftOut,
    Load,
    PlantedBug,
    Preflight,
    Probe,
    RepeatedBefore,
    Run,
    RunFolder,
    Span,
    TimelineEvent,
    Tries,
    Write,
    closing,
)
from reports.evidence.folder import EvidenceError

T = TypeVar("T")


class Trial(msgspec.Struct, kw_only=True):
    """One repeat of an experiment. `name` is the name of its folder and of its ledger."""

    name: str
    record: Experiment
    probes: list[Probe] = []


class ClientLedger(msgspec.Struct, kw_only=True):
    """One client's ledger."""

    writes: list[Write] = []
    spans: list[Span] = []


class Evidence(msgspec.Struct, kw_only=True):
    """A run's evidence. Lists are empty if there is none; `ledgers` are by client."""

    run: Run
    timeline: list[TimelineEvent] = []
    host: list[HostSample] = []
    loads: list[Load] = []
    calibrations: list[Calibration] = []
    rehearsals: list[Load] = []
    """Short tries of loads before them, the earliest first."""
    connections: list[Connections] = []
    trials: list[Trial] = []
    ledgers: dict[str, ClientLedger] = {}
    hops: list[Hop] = []
    consistency: list[Consistency] = []
    counts: list[Count] = []
    browser: list[BrowserTest] = []
    browser_session: BrowserSession | None = None
    knees: list[Knee] = []
    planted: list[PlantedBug] = []
    left_out: list[LeftOut] = []
    preflight: Preflight | None = None
    """What was found possible before the run."""
    tries: list[Tries] = []
    set_aside: dict[str, Evidence] = {}
    """`<name of the phase>.<number of the try>` -> what that try left; everything else is of what counts."""
    repeated_before: RepeatedBefore | None = None
    files: list[str] = []
    """Paths below `evidence/`, relative to the run folder."""
    problems: list[str] = []
    """Evidence that could not be read."""
    expected: list[Expected] = []
    """What each phase was to leave, by its own word beforehand."""
    kept: dict[str, Kept] = {}
    """Path relative to `evidence/` -> how each file is kept."""
    failures: dict[str, list[Failure]] = {}
    """Load -> what did not succeed."""

    def set_aside_windows(self) -> list[tuple[int, int]]:
        """The windows of all tries that were set aside."""
        return [(each.begin_ns, each.end_ns) for tries in self.tries for each in tries.tries if each.set_aside]

    def errors(self) -> list[TimelineEvent]:
        """What broke though the run went on. What broke in a try that was set aside was done again."""
        aside = self.set_aside_windows()
        return [
            event
            for event in self.timeline
            if event.kind == "error" and not any(begin <= event.at_ns <= end for begin, end in aside)
        ]


def load(folder: RunFolder) -> Evidence:
    """The evidence of a run. EvidenceError if `run.json` cannot be read: without it nothing can be said."""
    problems: list[str] = []

    def read(kind: Callable[[], list[T]]) -> list[T]:
        try:
            return kind()
        except (EvidenceError, OSError) as error:
            problems.append(str(error))
            return []

    trials = [
        Trial(name=name, record=record, probes=read(partial(folder.probe_history, name)))
        for name, record in read(folder.experiments)
    ]
    ledgers = {
        client: ClientLedger(
            writes=read(partial(folder.write_history, client)),
            spans=read(partial(folder.span_history, client)),
        )
        for client in folder.ledger_clients()
    }
    tries = read(folder.tries)
    set_aside = {
        path.name: load(RunFolder(path))
        for each in tries
        for number, attempt in enumerate(each.tries, 1)
        if attempt.set_aside and ((path := folder.try_dir(each.name, number)) / "evidence" / "run.json").exists()
    }
    problems += [problem for each in set_aside.values() for problem in each.problems]
    (repeated_before,) = read(lambda: [folder.repeated_before()]) or [None]
    (preflight,) = read(lambda: [folder.preflight()]) or [None]
    (browser_session,) = read(lambda: [folder.browser_session()]) or [None]
    return Evidence(
        run=folder.run(),
        preflight=preflight,
        timeline=read(folder.timeline_events),
        host=read(folder.host_samples),
        loads=read(folder.loads),
        connections=read(folder.connections),
        calibrations=read(folder.calibrations),
        rehearsals=read(folder.rehearsals),
        trials=sorted(trials, key=lambda trial: trial.record.begin_ns),
        ledgers=ledgers,
        hops=read(folder.hops),
        consistency=read(folder.consistency),
        counts=read(folder.counts),
        browser=read(folder.browser_tests),
        browser_session=browser_session,
        knees=read(folder.knees),
        planted=read(folder.planted),
        left_out=read(folder.left_out),
        tries=tries,
        set_aside=set_aside,
        repeated_before=repeated_before,
        files=read(lambda: list(folder.files(""))),
        expected=read(folder.expected),
        kept=closing.kept(folder.evidence),
        failures={name: read(partial(folder.load_failures, name)) for name in folder.failed_loads()},
        problems=problems,
    )

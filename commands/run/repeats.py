"""Phases and their tries: a try in which the machine was disturbed from outside is set aside, and made again.

What decides is in `reports.findings.repeats`, what is kept in `reports.evidence.tries`; here stands when it is done,
and why it is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import structs

from commands.run.pace import REPEATS, Leg
from commands.run.session import Session
from infra.machine.progress import Report, say
from infra.machine.waiting import Clock, until
from reports.archive.documents import rules
from reports.evidence import HostSample, PhaseKind, RunFolder, Tries, Try
from reports.evidence.folder import EvidenceError
from reports.evidence.tries import mark, set_aside
from reports.findings import repeats
from reports.findings.host import within
from reports.findings.loaded import Evidence, Trial

_SAMPLED_WITHIN_S = 3.0
"""The machine is sampled once a second: the last sample of a phase comes after it."""


class Phase(NamedTuple):
    """A phase that may be tried again. `records` are the names of its loads, or of its experiment's folder."""

    title: str
    name: str
    """Of the files about its tries."""
    kind: PhaseKind
    records: Sequence[str] = ()


def in_tries(run: Session, phase: Phase, make: Callable[[Report], None], clock: Clock = time) -> None:
    """Make a phase, again while its try is set aside and another one may be made. What breaks in a try is noted, as in
    any phase. A system with a planted bug is tried once."""
    if run.run.planted is not None:
        with run.phase(phase.title) as progress:
            make(progress)
        return
    tries = Tries(name=phase.name, phase=phase.title, kind=phase.kind, records=list(phase.records))
    title, why = phase.title, ""
    while True:
        since, begin_ns = mark(run.folder.evidence), clock.monotonic_ns()
        with run.phase(title) as progress:
            if why:
                progress(0.0, f"repeated, because {why}")
            make(progress)
        end_ns = clock.monotonic_ns()
        why, refused = "", ""
        try:
            why, refused = _looked_at(run, phase, len(tries.tries), (begin_ns, end_ns), clock)
        except EvidenceError as error:
            say(f"{title}: counts, since it cannot be said what disturbed it: {error}")  # The verdict will say so, too.
        again = bool(why) and not refused
        tries = structs.replace(
            tries,
            tries=[*tries.tries, Try(begin_ns=begin_ns, end_ns=end_ns, cause=why, set_aside=again)],
            refused=refused,
            facts=(since.facts, None if again else mark(run.folder.evidence).facts),
        )
        run.folder.write_tries(tries)
        if not again:
            if why:
                say(f"{phase.title}: disturbed and not repeated: {why}; {refused}")
            return
        aside = RunFolder.create(run.folder.try_dir(phase.name, len(tries.tries)))
        aside.write_run(run.run)
        set_aside(run.folder.evidence, since, aside.evidence)
        run.repeated += 1
        title = f"{phase.title}, try {len(tries.tries) + 1}"
        run.note("note", title, f"repeated, because {why}")
        run.pace.insert(Leg(title, REPEATS, (end_ns - begin_ns) / 1e9))


def _looked_at(run: Session, phase: Phase, before: int, window: tuple[int, int], clock: Clock) -> tuple[str, str]:
    """(why, refused) of a try that has just ended, `before` repeats of its phase were made: what disturbed it from
    outside, empty if nothing did, and then why it is not made again, empty if it is."""
    evidence = Evidence(run=run.run, preflight=run.folder.preflight())
    claims, policy = rules(run.folder, run.run)
    samples = sampled(run.folder, window[1], clock)
    loads = [load for load in run.folder.loads() if load.scenario in phase.records]
    found = [Trial(name=name, record=record) for name, record in run.folder.experiments() if name in phase.records]
    trial = found[0] if found else None
    if phase.kind == "load" and loads:
        why = repeats.of_loads(loads, samples, repeats.judged_gates(evidence, claims, policy), policy)
    elif phase.kind == "experiment" and trial is not None:
        why = repeats.of_experiment(trial, samples, policy)
    else:
        why = repeats.cause(within(samples, *window), (), {}, None, policy)
    if why is None:
        return "", ""
    rest = repeats.not_at_rest(trial) if phase.kind == "experiment" else None
    return why, rest or _no_room(run, before, (window[1] - window[0]) / 1e9) or ""


def _no_room(run: Session, before: int, seconds: float) -> str | None:
    """Why no other repeat is made, of so many `seconds` and with `before` of the same phase; None if one is."""
    if before >= repeats.PHASE_MAX:
        return f"{repeats.PHASE_MAX} repeats of a phase are the most"
    if run.repeated >= repeats.RUN_MAX:
        return f"{repeats.RUN_MAX} repeats in a run are the most"
    left_s = max(0.0, run.pace.left_s(REPEATS))
    if seconds > left_s:
        return f"another {seconds:.0f} s do not fit into the {left_s:.0f} s that are left for repeats"
    return None


def sampled(folder: RunFolder, until_ns: int, clock: Clock = time) -> list[HostSample]:
    """The machine's samples up to that instant, or those that have come after a short wait."""

    def whole() -> list[HostSample] | None:
        samples = folder.host_samples()
        return samples if samples and samples[-1].at_ns >= until_ns else None

    return until(whole, _SAMPLED_WITHIN_S, clock) or folder.host_samples()

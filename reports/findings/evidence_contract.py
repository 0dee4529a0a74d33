"""Whether a run left what its phases said beforehand that they would leave, as it was when it was closed. Pure.

Three things are compared: what each phase expected (written by the session, never by the process that measures), what
each writer closed with a count and a hash, and what is there. Every difference names its file and the rows that rest
on it: they are INCONCLUSIVE at best, a FAIL stays a FAIL. A difference that belongs to no phase is the whole run's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from reports.evidence import CONTRACT_SINCE, Expected, ExpectedLoad, Load, Run, TimelineEvent
from reports.evidence.expected import hop_path, session_path
from reports.evidence.fact_rows import FACT_ROWS
from reports.findings import agreement
from reports.findings.loaded import Evidence

_FACTS, _TIMELINE, _HOST, _TESTS = "facts.jsonl", "timeline.jsonl", "host.jsonl", "e2e/tests.jsonl"
_EVERY = ("*",)
_OF_CONTENTS = ("bus.exactly_once", "recovery.rpo_loss", "ledger.contents")
"""Rows that are judged by what every try wrote, those that were set aside among them."""
_NAMED_MAX = 3
_EARLY = "ended early "
_AT_ITS_END = ("state", "error", "finished_at")
"""Fields of a run's record that are known when it has ended."""


class Difference(NamedTuple):
    """Something that is not as it was to be."""

    path: str
    """Relative to `evidence/`."""
    says: str
    rows: tuple[str, ...] = ()
    """Patterns of the rows that rest on it; none: it is about the run as a whole."""

    def __str__(self) -> str:
        return f"{self.path}: {self.says}"


def differences(evidence: Evidence) -> list[Difference]:
    """All of them. A run that was recorded before there was a contract only has to agree with itself."""
    found = [*_unended(evidence.loads, evidence.expected)]
    if evidence.run.schema >= CONTRACT_SINCE:
        found += _of_run(evidence)
        found += _of_phases(evidence, evidence.expected)
        found += _of_facts(evidence)
        found += _undeclared(evidence)
        found += _of_errors(evidence)
        found += [each for name, tried in sorted(evidence.set_aside.items()) for each in _of_try(name, tried, evidence)]
    return list(dict.fromkeys(found))


def paths(phases: Iterable[Expected]) -> set[str]:
    """The files that these phases were to leave, and their own."""
    return {
        path
        for each in phases
        for path in (each.path, *(file.path for file in each.files), *(hop.path for hop in each.hops))
    }


def _unended(loads: Iterable[Load], phases: Sequence[Expected]) -> Iterator[Difference]:
    for load in loads:
        if (says := agreement.unended(load)) is not None:
            yield Difference(_record(load.scenario), says, _rows_of(load, phases))


def _record(load: str) -> str:
    return f"load/{load}.json"


def _rows_of(load: Load, phases: Iterable[Expected]) -> tuple[str, ...]:
    """The rows that a load is evidence for: by what was declared, and by what is in it."""
    declared = [row for each in phases if load.scenario in [one.name for one in each.loads] for row in each.rows]
    measured = [*(each.row for each in load.operations), *(each.name for each in load.rates), "harness.honesty"]
    return tuple(dict.fromkeys([*declared, *measured, *(["availability"] if load.requests else [])]))


# The run as a whole.


def _of_run(evidence: Evidence) -> Iterator[Difference]:
    session = next((each for each in evidence.expected if each.kind == "session"), None)
    if session is None or session.run is None:
        yield Difference(session_path(), "nothing was declared before the run", _EVERY)
        return
    if evidence.run.state != "finished":
        return  # It is no verdict anyway, and whoever writes for the run as a whole was ended, too.
    if evidence.run.finished_at is None:
        yield Difference("run.json", "it does not say when the run ended")
    other = [name for name, value in _known(evidence.run).items() if value != _known(session.run.record)[name]]
    if other:
        yield Difference("run.json", f"it is not the run that was to be made: {', '.join(other)} differ", _EVERY)
    yield from (Difference(_TIMELINE, says) for says in agreement.of_phases(evidence.timeline))
    began = {_phase(event) for event in evidence.timeline if event.kind == "phase_begin"}
    skipped = {event.name for event in evidence.timeline if event.kind == "skipped"}
    declared = {each.phase for each in evidence.expected}
    for name in session.run.phases:
        if name not in began | skipped:
            yield Difference(_TIMELINE, f"{name} was to come, and never began")
        elif name in began and name not in declared:
            yield Difference("expected", f"{name} declared nothing before it began")
    if session.run.sampled:
        windows = [(load.begin_ns, load.end_ns) for load in evidence.loads]
        windows += [(trial.record.begin_ns, trial.record.end_ns) for trial in evidence.trials]
        now = evidence.run.started_ns
        begin_ns, end_ns = min((one for one, _ in windows), default=now), max((one for _, one in windows), default=now)
        yield from (Difference(_HOST, says) for says in agreement.of_host(evidence.host, begin_ns, end_ns))


def _known(run: Run) -> dict[str, object]:
    """What is known of a run before it begins."""
    return {name: value for name, value in msgspec.structs.asdict(run).items() if name not in _AT_ITS_END}


def _phase(event: TimelineEvent) -> str:
    """The phase that an event is about; another try of it has the same name with its number."""
    return event.name.partition(", try ")[0]


# Phases.


def _of_phases(evidence: Evidence, phases: Sequence[Expected]) -> Iterator[Difference]:
    yield from _of_files(evidence, phases)
    for each in phases:
        rows = tuple(each.rows)
        for load in each.loads:
            yield from _of_load(evidence, load, phases)
        yield from _of_hops(evidence, each)
        yield from _of_trial(evidence, each)
        if each.tests is not None:
            yield from (Difference(_TESTS, says, rows) for says in _of_tests(evidence, each.tests))
            selected = evidence.browser_session.selected if evidence.browser_session else None
            if sorted(selected or ()) != sorted(each.tests):
                yield Difference("e2e/session.json", "other tests were run than were collected before", rows)


def _of_files(evidence: Evidence, phases: Sequence[Expected]) -> Iterator[Difference]:
    """Every file that was expected is there and closed by all its writers; every file that is there is as it was
    closed."""
    finished = evidence.run.state == "finished"
    session = paths([each for each in phases if each.kind == "session"])
    rows = _rows_by_path(phases)
    for path in sorted({*evidence.kept, *paths(phases)}):
        if path in session and not finished:
            continue
        kept = evidence.kept.get(path)
        if kept is None:
            yield Difference(path, "it was expected, and is not there", _rows_for(path, rows, phases))
        elif kept.problem is not None:
            yield Difference(path, kept.problem, _rows_for(path, rows, phases))
    for each in phases:
        for file in each.files:
            kept = evidence.kept.get(file.path)
            if kept is None or kept.problem is not None or (file.path in session and not finished):
                continue
            if kept.writers < file.writers:
                says = f"{kept.writers} of {file.writers} processes closed it"
                yield Difference(file.path, says, tuple(each.rows))
            if kept.lines is not None and kept.lines < file.lines:
                says = f"{kept.lines:,} lines, at least {file.lines:,} were to be there"
                yield Difference(file.path, says, tuple(each.rows))


def _rows_by_path(phases: Iterable[Expected]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for each in phases:
        for path in paths([each]):
            found[path] = (*found.get(path, ()), *each.rows)
    return found


def _rows_for(path: str, known: Mapping[str, tuple[str, ...]], phases: Iterable[Expected]) -> tuple[str, ...]:
    """The rows of the phase that a file belongs to: by what was declared, else by its name."""
    if path in known:
        return known[path]
    if path == _FACTS:
        return tuple(sorted(FACT_ROWS))
    for each in phases:
        names = [load.name for load in each.loads] + ([each.trial.name] if each.trial else [])
        if any(part == name or part.startswith(f"{name}.") for part in path.split("/") for name in names):
            return tuple(each.rows)
        if path.startswith("e2e/") and each.kind == "browser":
            return tuple(each.rows)
    return ()


def _of_load(evidence: Evidence, expected: ExpectedLoad, phases: Sequence[Expected]) -> Iterator[Difference]:
    path = _record(expected.name)
    load = next((each for each in evidence.loads if each.scenario == expected.name), None)
    if load is None:
        rows = tuple(row for each in phases if expected in each.loads for row in each.rows)
        yield Difference(path, "the load left no record that can be read", rows)
        return
    rows = _rows_of(load, phases)
    silent = [name for name in expected.engines if name not in load.engines]
    if silent:
        left = len(expected.engines) - len(silent)
        yield Difference(
            path, f"results of {left} of {len(expected.engines)} processes are in it, none of {_named(silent)}", rows
        )
    if load.offered < expected.operations and not load.ended_early:
        says = f"{load.offered:,} operations were offered, at least {expected.operations:,} were to be"
        yield Difference(path, says, rows)
    if (load.requests, load.closed_loop) != (expected.requests, expected.closed_loop):
        yield Difference(path, "it is not the kind of load that was to be made", rows)
    kept = evidence.ledgers.get(expected.name)
    keeps_failures = f"load/{expected.name}.failures.jsonl" in paths(phases)
    failures = evidence.failures.get(expected.name, []) if keeps_failures else None
    for says in agreement.of_load(load, failures, kept.spans if kept else []):
        yield Difference(path, says, rows)
    told = [event.detail for event in evidence.timeline if event.detail.startswith(_EARLY)]
    if load.ended_early and f"{_EARLY}{load.ended_early}" not in told:
        yield Difference(path, "it was ended early, and the timeline does not say so", rows)


def _of_hops(evidence: Evidence, expected: Expected) -> Iterator[Difference]:
    """Each place was looked at; not in a region that was lost as a whole, if one was to be."""
    there = {(hop.client, hop.hop, hop.region): hop for hop in evidence.hops}
    lost = [
        (trial.name, trial.record.lost_region)
        for trial in evidence.trials
        if expected.trial is not None and expected.trial.loses_region
    ]
    for each in expected.hops:
        hop = there.get((each.client, each.hop, each.region))
        if hop is None and not (each.effect and (each.client, each.region) in lost):
            yield Difference(each.path, "its writes were not looked for there", tuple(expected.rows))
        elif hop is not None and hop.effect != each.effect:
            yield Difference(each.path, "it is not the kind of place that was to be looked at", tuple(expected.rows))
    for client in dict.fromkeys(each.client for each in expected.hops):
        kept = evidence.ledgers.get(client)
        places = {(each.client, each.hop, each.region) for each in expected.hops}
        mine = [hop for key, hop in there.items() if key in places and hop.client == client]
        for hop, says in agreement.of_hops(mine, kept.writes if kept else []):
            yield Difference(hop_path(hop.client, hop.hop, hop.region), says, tuple(expected.rows))
        for path, says in agreement.of_ledger(client, kept.writes, kept.spans) if kept else ():
            yield Difference(path, says, tuple(expected.rows))


def _of_trial(evidence: Evidence, expected: Expected) -> Iterator[Difference]:
    if expected.trial is None:
        return
    rows = tuple(expected.rows)
    name = expected.trial.name
    trial = next((each for each in evidence.trials if each.name == name), None)
    if trial is None:
        yield Difference(f"chaos/{name}/experiment.json", "the experiment left no record that can be read", rows)
        return
    if trial.record.id != expected.trial.experiment:
        yield Difference(f"chaos/{name}/experiment.json", f"it is not of {expected.trial.experiment}", rows)
    kept = evidence.ledgers.get(name)
    for says in agreement.of_trial(trial, expected.trial, kept.writes if kept else []):
        yield Difference(f"chaos/{name}/probes.jsonl", says, rows)
    if evidence.timeline:
        for says in agreement.of_timeline(trial, evidence.timeline):
            yield Difference(f"chaos/{name}/experiment.json", says, rows)


def _of_tests(evidence: Evidence, expected: Sequence[str]) -> Iterator[str]:
    results = Counter(test.id for test in evidence.browser)
    silent = [name for name in expected if name not in results]
    if silent:
        yield f"{len(silent)} of {len(expected)} tests left no result: {_named(silent)}"
    others = [name for name in results if name not in expected]
    if others:
        yield f"results of {len(others)} tests that were not collected before: {_named(others)}"
    twice = [name for name, count in results.items() if count > 1]
    if twice:
        yield f"{len(twice)} tests left more than one result: {_named(twice)}"


# Facts, and what nobody declared.


def _of_facts(evidence: Evidence) -> Iterator[Difference]:
    every = [evidence, *evidence.set_aside.values()]
    for row in dict.fromkeys(count.row for each in every for count in each.counts if count.row not in FACT_ROWS):
        yield Difference(_FACTS, f"a fact for {row!r}, which takes none", (row,))
    for count in evidence.counts:
        if (says := agreement.of_fact(count)) is not None:
            yield Difference(_FACTS, says, (count.row,))
    least: Counter[str] = Counter()
    for phase in evidence.expected:
        least.update(phase.facts)
    found = Counter(count.row for count in evidence.counts)
    for row, number in sorted(least.items()):
        if found[row] < number:
            yield Difference(_FACTS, f"{found[row]:,} facts for {row}, at least {number:,} were to be there", (row,))


def _undeclared(evidence: Evidence) -> Iterator[Difference]:
    """What is there though no phase had said so: its phase's word has gone, or was never given."""
    loads = {load.name for each in evidence.expected for load in each.loads}
    for load in evidence.loads:
        if load.scenario not in loads:
            yield Difference(_record(load.scenario), "no phase declared it before", _rows_of(load, []))
    trials = {each.trial.name for each in evidence.expected if each.trial is not None}
    for trial in evidence.trials:
        if trial.name not in trials:
            rows = ("recovery.*", *_OF_CONTENTS)
            yield Difference(f"chaos/{trial.name}/experiment.json", "no phase declared it before", rows)
    if evidence.browser and not any(each.kind == "browser" for each in evidence.expected):
        yield Difference(_TESTS, "no phase declared it before", ("web.*",))


def failed_phases(evidence: Evidence) -> list[str]:
    """What broke though the run went on, in words."""
    return [f"{event.name}: {event.detail}" for event in _errors(evidence)]


def _errors(evidence: Evidence) -> list[TimelineEvent]:
    """A search for a knee tries again after a load that could not be made; nothing else does."""
    tries = {f"{knee.scenario} {step.rate:g}/s" for knee in evidence.knees for step in knee.steps + knee.with_room}
    return [event for event in evidence.errors() if _phase(event) not in tries]


def _of_errors(evidence: Evidence) -> Iterator[Difference]:
    """What broke is never only a note: the rows of its phase have to say it."""
    for event in _errors(evidence):
        rows = tuple(row for each in evidence.expected if each.phase == _phase(event) for row in each.rows)
        if rows:
            yield Difference(_TIMELINE, f"{event.name}: {event.detail}", rows)


def _of_try(name: str, tried: Evidence, evidence: Evidence) -> Iterator[Difference]:
    """Of a try that was set aside: what it wrote counts, unless it broke before."""
    phase, _, number = name.rpartition(".")
    windows = [
        (each.begin_ns, each.end_ns)
        for tries in evidence.tries if tries.name == phase
        for each in tries.tries[int(number) - 1 : int(number)]
    ]  # fmt: skip
    broke = any(
        event.kind == "error" and begin <= event.at_ns <= end for event in evidence.timeline for begin, end in windows
    )
    found = [] if broke else [*_of_files(tried, tried.expected)]
    found += [] if broke else [each for phase in tried.expected for each in _of_hops(tried, phase)]
    if not broke and not tried.expected:
        found.append(Difference("expected", "the try declared nothing before"))
    for each in found:
        yield each._replace(path=f"tries/{name}/evidence/{each.path}", rows=_OF_CONTENTS)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_MAX]) + (f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else "")

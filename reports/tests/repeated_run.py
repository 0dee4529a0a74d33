"""A run folder in which a phase was tried twice. For tests and screenshots."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from reports.evidence import Count, Hop, Load, Operation, RunFolder, Tries, Try
from reports.evidence.tries import mark, set_aside
from reports.tests.synthetic_run import Story, at, latencies, write_run

CAUSE = "other programs 48% of all cores (python3 47%)"
LOAD, EXPERIMENT = "bus-ingest", "pg-primary-kill"


def repeat_load(folder: RunFolder, *, publish_ms: float = 120.0, lost: int = 0, error: str = "") -> None:
    """Give the load a first try that was set aside, in which a publish took so long and writes were lost."""
    (counted,) = (load for load in folder.loads() if load.scenario == LOAD)
    aside = _aside(folder, LOAD)
    aside.write_expected(next(each for each in folder.expected() if each.phase == LOAD))
    aside.write_load(published_in(counted, publish_ms))
    aside.failures(LOAD).close()
    with aside.spans(LOAD) as spans:
        spans.add(*folder.span_history(LOAD))
    aside.write_hop(Hop(client=LOAD, hop="stream", spans=[(1, 0, 59_999 - lost)]))
    with aside.facts() as facts:
        facts.add(Count(row="bus.exactly_once", value=0, unit="", how="totals add up", ok=True))
    record(folder, LOAD, "load")
    if error:
        with folder.timeline() as timeline:
            timeline.add(structs.replace(folder.timeline_events()[0], at_ns=at(67), kind="error", detail=error))


def published_in(load: Load, milliseconds: float) -> Load:
    """The same load, in which every publish took so long."""
    slow = Operation(name="bus.publish_p99", latencies=latencies([milliseconds], times=load.ok).close())
    others = [each for each in load.operations if each.name != slow.name]
    seconds = [structs.replace(each, p50_ms=milliseconds, p99_ms=milliseconds) for each in load.seconds]
    return structs.replace(load, operations=[slow, *others], seconds=seconds)


def repeat_experiment(folder: RunFolder, story: Story, name: str = EXPERIMENT) -> None:
    """Give the experiment a first try that was set aside, in which that story happened."""
    other = write_run(folder.path.parent / f"{folder.path.name}-first", story)
    since = mark(other.evidence)
    mine = {path for path in since.files if name in path.relative_to(other.evidence).as_posix()}
    set_aside(other.evidence, since._replace(files=since.files - mine), _aside(folder, name).evidence)
    record(folder, name, "experiment")


def _aside(folder: RunFolder, name: str) -> RunFolder:
    aside = RunFolder.create(folder.try_dir(name, 1))
    aside.write_run(folder.run())
    return aside


def record(folder: RunFolder, name: str, kind: str, *, refused: str = "") -> None:
    """Write down that the phase's first try was set aside; with `refused` that it was not, though it was disturbed."""
    first = Try(begin_ns=at(66), end_ns=at(68), cause=CAUSE, set_aside=not refused)
    counted = [] if refused else [Try(begin_ns=at(68), end_ns=at(101) - 1)]
    facts = (len(folder.counts()), len(folder.counts()))
    tries = Tries(
        name=name, phase=name, kind=kind, records=[name], tries=[first, *counted], refused=refused, facts=facts  # type: ignore[arg-type]
    )  # fmt: skip
    folder.write_tries(tries)


def write_repeated(path: Path) -> RunFolder:
    """A run that passes with a try that was set aside, and that would have failed without."""
    folder = write_run(path)
    repeat_load(folder)
    return folder

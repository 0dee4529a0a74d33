"""Which of the runs that are kept saw an experiment, a suite or a planted bug last, and what came of it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import structs

from reports.evidence import BrowserTest, Kind, LeftOut, PlantedBug, RepeatedBefore, Run, RunFolder, Seen, Tries
from reports.evidence.folder import EvidenceError, read_record
from reports.findings.nights import alarms
from reports.findings.repeats import WARN_RUNS, is_repeated
from reports.model import Document, Verdict

Key = tuple[Kind, str]
_ALARMS: dict[str, Verdict] = {"caught": "PASS", "harmless": "PASS", "missed": "FAIL", "unproven": "INCONCLUSIVE"}
_BROWSER = "e2e/"


class Kept(NamedTuple):
    """What one run keeps of what takes turns."""

    run: Run
    document: Document
    tests: list[BrowserTest]
    planted: list[PlantedBug]


def with_last(left: Iterable[LeftOut], runs: Path, warn: Callable[[str], None]) -> list[LeftOut]:
    """Each with the run that saw it last, of the runs below the folder `runs`. `warn` takes a line for each run that
    cannot be read."""
    last = latest(sight for kept in read_runs(runs, warn) for sight in sights(kept))
    return [structs.replace(each, last=last.get((each.kind, each.name))) for each in left]


def latest(seen: Iterable[tuple[Key, Seen]]) -> dict[Key, Seen]:
    """The last sight of each."""
    found: dict[Key, Seen] = {}
    for key, each in seen:
        if key not in found or each.at > found[key].at:
            found[key] = each
    return found


def sights(kept: Kept) -> Iterator[tuple[Key, Seen]]:
    """What a run says of each thing that was a part of it. A system with a planted bug says nothing of others."""
    run, document = kept.run, kept.document

    def seen(verdict: str) -> Seen:
        return Seen(run_id=run.run_id, commit=run.fingerprint.commit, at=run.started_at, verdict=verdict)

    if run.planted is not None:
        return
    for experiment in document.experiments:
        if experiment.repeats:
            yield ("experiment", experiment.id), seen(experiment.verdict)
    if run.profile == "nightly":  # Elsewhere only some tests of a suite may have been chosen.
        for suite in dict.fromkeys(map(_suite, kept.tests)):
            outcomes = [test.outcome for test in kept.tests if _suite(test) == suite]
            verdict = "FAIL" if "failed" in outcomes else "INCONCLUSIVE" if "skipped" in outcomes else "PASS"
            yield ("suite", suite), seen(verdict)
    for alarm in alarms(kept.planted):
        yield ("planted bug", alarm.name), seen("FAIL" if alarm.false_alarms else _ALARMS[alarm.outcome])


def _suite(test: BrowserTest) -> str:
    return test.id.partition("::")[0].removeprefix(_BROWSER)


def repeated_before(runs: Path, this: Path, warn: Callable[[str], None]) -> RepeatedBefore | None:
    """How often phases were repeated in the last runs below the folder `runs`, as many as a warning looks at beside
    `this` one; None without any. Systems with planted bugs repeat nothing and don't count."""
    found: list[tuple[str, list[Tries]]] = []
    for path in runs.glob("*/evidence/tries"):
        folder = RunFolder(path.parents[1])
        if folder.path.resolve() == this.resolve():
            continue
        try:
            found.append((folder.run().started_at, folder.tries()))
        except (EvidenceError, OSError) as error:
            warn(f"a run is left out of the history: {error}")
    last = [tries for _, tries in sorted(found, key=lambda each: each[0])[1 - WARN_RUNS :]]
    if not last:
        return None
    phases = [each for tries in last for each in tries]
    return RepeatedBefore(runs=len(last), phases=len(phases), repeated=sum(map(is_repeated, phases)))


def read_runs(runs: Path, warn: Callable[[str], None]) -> Iterator[Kept]:
    """The runs that are kept and have a report."""
    for path in sorted(runs.glob("*/report.json")):
        folder = RunFolder(path.parent)
        try:
            yield Kept(folder.run(), read_record(path, Document), folder.browser_tests(), folder.planted())
        except (EvidenceError, OSError, msgspec.MsgspecError) as error:
            warn(f"a run is left out of the history: {error}")

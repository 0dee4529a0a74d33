"""A run's folder on disk: one typed way in and out of `evidence/`. Each file is closed when it is complete
(`closing`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reports.evidence.browser import BrowserSession, BrowserTest
from reports.evidence.calibration import Calibration
from reports.evidence.closing import close_record
from reports.evidence.expected import Expected, hop_path, sessions_path
from reports.evidence.fact_rows import FactAppender
from reports.evidence.files import (
    Appender,
    EvidenceError,
    indented,
    read_lines,
    read_record,
    write_record,
    write_whole,
)
from reports.evidence.knee import Knee
from reports.evidence.nights import LeftOut, PlantedBug
from reports.evidence.preflight import Preflight
from reports.evidence.records import (
    SCHEMA,
    Connections,
    Consistency,
    Count,
    Experiment,
    Failure,
    Hop,
    HostSample,
    Load,
    Probe,
    Run,
    Span,
    TimelineEvent,
    Write,
)
from reports.evidence.tries import RepeatedBefore, Tries

__all__ = ["OWN_SLO", "Appender", "EvidenceError", "RunFolder", "find_run", "read_lines", "read_record", "write_record"]

OWN_SLO = "slo.yaml"


class RunFolder:
    """`reports/runs/<run id>/`: the evidence, and the documents made of it.

    Where evidence is missing, readers return an empty list or None, since the verdict decides what that means; only
    `run` raises EvidenceError then. Damaged evidence always raises it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.evidence = path / "evidence"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make the folder. OSError if it cannot be made or written to."""
        folder = cls(path)
        folder.evidence.mkdir(parents=True, exist_ok=True)
        if not os.access(folder.evidence, os.W_OK):
            raise PermissionError(f"{path} cannot be written")
        return folder

    def _write(self, path: Path, record: object) -> None:
        self._write_closed(path, indented(record))

    def _write_closed(self, path: Path, content: bytes) -> None:
        write_whole(path, content)
        close_record(self.evidence, path, content)

    # One record each.

    def write_run(self, run: Run) -> None:
        self._write(self.evidence / "run.json", run)

    def run(self) -> Run:
        """EvidenceError also for a run of a newer schema than this version knows."""
        run = read_record(self.evidence / "run.json", Run)
        if run.schema > SCHEMA:
            raise EvidenceError(
                f"{self.path} was recorded with schema {run.schema}, and this version knows {SCHEMA} at most: use a "
                "newer one"
            )
        return run

    def write_preflight(self, found: Preflight) -> None:
        self._write(self.evidence / "preflight.json", found)

    def preflight(self) -> Preflight | None:
        path = self.evidence / "preflight.json"
        return read_record(path, Preflight) if path.exists() else None

    def write_expected(self, expected: Expected) -> None:
        """Write what a phase is to leave; before it begins."""
        self._write(self.evidence / expected.path, expected)

    def expected(self) -> list[Expected]:
        return [read_record(path, Expected) for path in sorted((self.evidence / "expected").glob("*.json"))]

    def write_load(self, load: Load) -> None:
        self._write(self.evidence / "load" / f"{load.scenario}.json", load)

    def loads(self) -> list[Load]:
        return [read_record(path, Load) for path in sorted((self.evidence / "load").glob("*.json"))]

    def write_rehearsal(self, load: Load, number: int) -> None:
        """The `number`th short try of a load, from 1, before the load itself."""
        self._write(self.evidence / "rehearsal" / f"{load.scenario}.{number}.json", load)

    def rehearsals(self) -> list[Load]:
        """All short tries of loads, the earliest first."""
        paths = (self.evidence / "rehearsal").glob("*.json")
        return sorted((read_record(path, Load) for path in paths), key=lambda each: each.begin_ns)

    def write_calibration(self, found: Calibration) -> None:
        self._write(self.evidence / "calibration" / f"{found.scenario}.{found.when}.json", found)

    def calibrations(self) -> list[Calibration]:
        """All calibrations, the earliest first."""
        paths = (self.evidence / "calibration").glob("*.json")
        return sorted((read_record(path, Calibration) for path in paths), key=lambda each: each.begin_ns)

    def write_connections(self, held: Connections) -> None:
        self._write(self.evidence / "load" / "connections" / f"{held.scenario}.{held.name}.json", held)

    def connections(self) -> list[Connections]:
        return [
            read_record(path, Connections) for path in sorted((self.evidence / "load" / "connections").glob("*.json"))
        ]

    def knee_dir(self, scenario: str) -> Path:
        """The parent of the tries' folders; each of these is a run folder."""
        return self.evidence / "knee" / scenario

    def write_knee(self, knee: Knee) -> None:
        self._write(self.evidence / "knee" / f"{knee.scenario}.json", knee)

    def knees(self) -> list[Knee]:
        return [read_record(path, Knee) for path in sorted((self.evidence / "knee").glob("*.json"))]

    def experiment_dir(self, experiment: str, repeat: int = 1) -> Path:
        """`evidence/chaos/<experiment>`; further repeats get `.2`, `.3`."""
        return self.evidence / "chaos" / (experiment if repeat == 1 else f"{experiment}.{repeat}")

    def write_experiment(self, result: Experiment, repeat: int = 1) -> None:
        self._write(self.experiment_dir(result.id, repeat) / "experiment.json", result)

    def experiments(self) -> list[tuple[str, Experiment]]:
        """(folder name, record) of every repeat; its ledger and hops have the folder's name, too."""
        return [
            (path.parent.name, read_record(path, Experiment))
            for path in sorted((self.evidence / "chaos").glob("*/experiment.json"))
        ]

    def try_dir(self, name: str, number: int) -> Path:
        """The run folder of a try that was set aside."""
        return self.evidence / "tries" / f"{name}.{number}"

    def write_tries(self, found: Tries) -> None:
        self._write(self.evidence / "tries" / f"{found.name}.json", found)

    def tries(self) -> list[Tries]:
        return [read_record(path, Tries) for path in sorted((self.evidence / "tries").glob("*.json"))]

    def write_repeated_before(self, found: RepeatedBefore) -> None:
        self._write(self.evidence / "repeated-before.json", found)

    def repeated_before(self) -> RepeatedBefore | None:
        path = self.evidence / "repeated-before.json"
        return read_record(path, RepeatedBefore) if path.exists() else None

    def planted_dir(self, bug: str) -> Path:
        """The run folder of a planted bug's own system."""
        return self.path / "planted" / bug

    def write_planted(self, bug: PlantedBug) -> None:
        self._write(self.evidence / "planted" / f"{bug.name}.json", bug)

    def planted(self) -> list[PlantedBug]:
        return [read_record(path, PlantedBug) for path in sorted((self.evidence / "planted").glob("*.json"))]

    def write_left_out(self, left: list[LeftOut]) -> None:
        self._write(self.evidence / "left-out.json", left)

    def left_out(self) -> list[LeftOut]:
        path = self.evidence / "left-out.json"
        return read_record(path, list[LeftOut]) if path.exists() else []

    def write_hop(self, hop: Hop) -> None:
        self._write(self.evidence / hop_path(hop.client, hop.hop, hop.region), hop)

    def hops(self) -> list[Hop]:
        return [read_record(path, Hop) for path in sorted((self.evidence / "hops").glob("*.json"))]

    def write_browser_session(self, session: BrowserSession) -> None:
        self._write(self.evidence / "e2e" / "session.json", session)

    def browser_session(self) -> BrowserSession | None:
        path = self.evidence / "e2e" / "session.json"
        return read_record(path, BrowserSession) if path.exists() else None

    # Lists.

    def write_own_slo(self, text: str) -> None:
        self._write_closed(self.evidence / OWN_SLO, text.encode())

    def own_slo(self) -> str | None:
        """The objectives of the user's own that the run is to meet (OpenSLO); None if there are none."""
        path = self.evidence / OWN_SLO
        return path.read_text("utf-8") if path.exists() else None

    def timeline(self) -> Appender[TimelineEvent]:
        return Appender(self.evidence / "timeline.jsonl", self.evidence)

    def timeline_events(self) -> list[TimelineEvent]:
        return sorted(read_lines(self.evidence / "timeline.jsonl", TimelineEvent), key=lambda event: event.at_ns)

    def host(self) -> Appender[HostSample]:
        return Appender(self.evidence / "host.jsonl", self.evidence)

    def host_samples(self) -> list[HostSample]:
        return list(read_lines(self.evidence / "host.jsonl", HostSample))

    def failures(self, scenario: str) -> Appender[Failure]:
        return Appender(self.evidence / "load" / f"{scenario}.failures.jsonl", self.evidence)

    def failed_loads(self) -> list[str]:
        """The loads that left a list of failures, by name."""
        paths = (self.evidence / "load").glob("*.failures.jsonl")
        return sorted(path.name.removesuffix(".failures.jsonl") for path in paths)

    def load_failures(self, scenario: str) -> list[Failure]:
        return list(read_lines(self.evidence / "load" / f"{scenario}.failures.jsonl", Failure))

    def probes(self, experiment: str) -> Appender[Probe]:
        """`experiment` is the folder's name, as `experiments` gives it."""
        return Appender(self.evidence / "chaos" / experiment / "probes.jsonl", self.evidence)

    def probe_history(self, experiment: str) -> list[Probe]:
        history = read_lines(self.evidence / "chaos" / experiment / "probes.jsonl", Probe)
        return sorted(history, key=lambda probe: probe.at_ns)

    def writes(self, client: str) -> Appender[Write]:
        return Appender(self.evidence / "ledger" / f"{client}.jsonl", self.evidence)

    def write_history(self, client: str) -> list[Write]:
        return list(read_lines(self.evidence / "ledger" / f"{client}.jsonl", Write))

    def sessions(self, scenario: str) -> Appender[Any]:
        """The history of what a load's clients wrote and read, in records of `ledger.sessions.history`."""
        return Appender(self.session_path(scenario), self.evidence)

    def session_path(self, scenario: str) -> Path:
        return self.evidence / sessions_path(scenario)

    def write_consistency(self, found: Consistency) -> None:
        self._write(self.evidence / "consistency" / f"{found.scenario}.json", found)

    def consistency(self) -> list[Consistency]:
        return [read_record(path, Consistency) for path in sorted((self.evidence / "consistency").glob("*.json"))]

    def spans(self, client: str) -> Appender[Span]:
        return Appender(self.evidence / "ledger" / f"{client}.spans.jsonl", self.evidence)

    def span_history(self, client: str) -> list[Span]:
        return list(read_lines(self.evidence / "ledger" / f"{client}.spans.jsonl", Span))

    def ledger_clients(self) -> list[str]:
        """The clients that left a ledger, by name."""
        paths = (self.evidence / "ledger").glob("*.jsonl")
        return sorted({path.name.removesuffix(".jsonl").removesuffix(".spans") for path in paths})

    def facts(self) -> FactAppender:
        return FactAppender(self.evidence / "facts.jsonl", self.evidence)

    def counts(self) -> list[Count]:
        return list(read_lines(self.evidence / "facts.jsonl", Count))

    def browser(self) -> Appender[BrowserTest]:
        return Appender(self.evidence / "e2e" / "tests.jsonl", self.evidence)

    def browser_tests(self) -> list[BrowserTest]:
        return list(read_lines(self.evidence / "e2e" / "tests.jsonl", BrowserTest))

    def files(self, under: str) -> Iterable[str]:
        """Paths of files below `evidence/<under>`, relative to the run folder, sorted."""
        root = self.evidence / under
        paths = root.rglob("*") if root.is_dir() else []
        return sorted(str(path.relative_to(self.path)) for path in paths if path.is_file())


def find_run(runs: Path, name: str | None) -> RunFolder:
    """The run with the id `name` below `runs`, or in the folder `name`; without a name the newest below `runs`.
    EvidenceError if there is none."""
    if name is None:
        found = list(runs.glob("*/evidence/run.json"))
        if not found:
            raise EvidenceError(f"there is no run in {runs} yet: ./covenant nightly --profile smoke")
        return RunFolder(max(found, key=lambda path: path.stat().st_mtime).parents[1])
    for path in (runs / name, Path(name)):
        if (path / "evidence" / "run.json").exists():
            return RunFolder(path)
    raise EvidenceError(f"{name} is neither a run in {runs} nor a run's folder")

"""A run's folder on disk: one typed way in and out of `evidence/`.

Lists are JSON lines, appended and flushed record by record: a run that is killed leaves what it had. Single records
are JSON, written to a temporary file that is then renamed. A reader drops a torn last line, since its writer was
killed; a torn line anywhere else is damage and raises EvidenceError.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import msgspec

from reports.evidence.browser import BrowserSession, BrowserTest
from reports.evidence.calibration import Calibration
from reports.evidence.knee import Knee
from reports.evidence.nights import LeftOut, PlantedBug
from reports.evidence.preflight import Preflight
from reports.evidence.records import (
    Connections,
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

T = TypeVar("T")


class EvidenceError(Exception):
    """Evidence that is missing or cannot be read; names the file."""


_ENCODER = msgspec.json.Encoder()


def _encoded(record: object) -> bytes:
    """The record as JSON. What is not UTF-8 (a file's name, an argument) is written out, as `\\udcff`: a run must not
    lose its evidence over it."""
    try:
        return _ENCODER.encode(record)
    except UnicodeEncodeError:
        return _ENCODER.encode(_in_utf8(msgspec.to_builtins(record)))


def _in_utf8(part: Any) -> Any:
    match part:
        case str():
            return part.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            return {_in_utf8(key): _in_utf8(value) for key, value in part.items()}
        case list() | tuple():
            return [_in_utf8(value) for value in part]
    return part


class Appender(Generic[T]):
    """An open JSON-lines file. What `add` has written survives a kill -9 of this process, but not a loss of power."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def add(self, *records: T) -> None:
        """Append the records with one write, so that lines of several processes do not mix. OSError on a full disk."""
        if not records:
            return
        lines = b"".join(_encoded(record) + b"\n" for record in records)
        written = self._file.write(lines)
        if written != len(lines):
            raise OSError(errno.ENOSPC, f"only {written} of {len(lines)} bytes fitted", str(self._file.name))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Appender[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_lines(path: Path, kind: type[T]) -> Iterator[T]:
    """The records of a JSON-lines file; none if there is no such file. EvidenceError names a damaged line."""
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise EvidenceError(f"{path}, line {number}: {error}") from error


def write_record(path: Path, record: object) -> None:
    """Write one record as indented JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(msgspec.json.format(_encoded(record), indent=1) + b"\n")
    temporary.replace(path)


def read_record(path: Path, kind: type[T]) -> T:
    """The record of a file. EvidenceError names the file if it is missing or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise EvidenceError(f"{path} is missing") from None
    except msgspec.MsgspecError as error:
        raise EvidenceError(f"{path}: {error}") from error


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

    # One record each.

    def write_run(self, run: Run) -> None:
        write_record(self.evidence / "run.json", run)

    def run(self) -> Run:
        return read_record(self.evidence / "run.json", Run)

    def write_preflight(self, found: Preflight) -> None:
        write_record(self.evidence / "preflight.json", found)

    def preflight(self) -> Preflight | None:
        path = self.evidence / "preflight.json"
        return read_record(path, Preflight) if path.exists() else None

    def write_load(self, load: Load) -> None:
        write_record(self.evidence / "load" / f"{load.scenario}.json", load)

    def loads(self) -> list[Load]:
        return [read_record(path, Load) for path in sorted((self.evidence / "load").glob("*.json"))]

    def write_rehearsal(self, load: Load, number: int) -> None:
        """The `number`th short try of a load, from 1, before the load itself."""
        write_record(self.evidence / "rehearsal" / f"{load.scenario}.{number}.json", load)

    def rehearsals(self) -> list[Load]:
        """All short tries of loads, the earliest first."""
        paths = (self.evidence / "rehearsal").glob("*.json")
        return sorted((read_record(path, Load) for path in paths), key=lambda each: each.begin_ns)

    def write_calibration(self, found: Calibration) -> None:
        write_record(self.evidence / "calibration" / f"{found.scenario}.{found.when}.json", found)

    def calibrations(self) -> list[Calibration]:
        """All calibrations, the earliest first."""
        paths = (self.evidence / "calibration").glob("*.json")
        return sorted((read_record(path, Calibration) for path in paths), key=lambda each: each.begin_ns)

    def write_connections(self, held: Connections) -> None:
        write_record(self.evidence / "load" / "connections" / f"{held.scenario}.{held.name}.json", held)

    def connections(self) -> list[Connections]:
        return [
            read_record(path, Connections) for path in sorted((self.evidence / "load" / "connections").glob("*.json"))
        ]

    def knee_dir(self, scenario: str) -> Path:
        """The parent of the tries' folders; each of these is a run folder."""
        return self.evidence / "knee" / scenario

    def write_knee(self, knee: Knee) -> None:
        write_record(self.evidence / "knee" / f"{knee.scenario}.json", knee)

    def knees(self) -> list[Knee]:
        return [read_record(path, Knee) for path in sorted((self.evidence / "knee").glob("*.json"))]

    def experiment_dir(self, experiment: str, repeat: int = 1) -> Path:
        """`evidence/chaos/<experiment>`; further repeats get `.2`, `.3`."""
        return self.evidence / "chaos" / (experiment if repeat == 1 else f"{experiment}.{repeat}")

    def write_experiment(self, result: Experiment, repeat: int = 1) -> None:
        write_record(self.experiment_dir(result.id, repeat) / "experiment.json", result)

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
        write_record(self.evidence / "tries" / f"{found.name}.json", found)

    def tries(self) -> list[Tries]:
        return [read_record(path, Tries) for path in sorted((self.evidence / "tries").glob("*.json"))]

    def write_repeated_before(self, found: RepeatedBefore) -> None:
        write_record(self.evidence / "repeated-before.json", found)

    def repeated_before(self) -> RepeatedBefore | None:
        path = self.evidence / "repeated-before.json"
        return read_record(path, RepeatedBefore) if path.exists() else None

    def planted_dir(self, bug: str) -> Path:
        """The run folder of a planted bug's own system."""
        return self.path / "planted" / bug

    def write_planted(self, bug: PlantedBug) -> None:
        write_record(self.evidence / "planted" / f"{bug.name}.json", bug)

    def planted(self) -> list[PlantedBug]:
        return [read_record(path, PlantedBug) for path in sorted((self.evidence / "planted").glob("*.json"))]

    def write_left_out(self, left: list[LeftOut]) -> None:
        write_record(self.evidence / "left-out.json", left)

    def left_out(self) -> list[LeftOut]:
        path = self.evidence / "left-out.json"
        return read_record(path, list[LeftOut]) if path.exists() else []

    def write_hop(self, hop: Hop) -> None:
        region = f".{hop.region}" if hop.region else ""
        write_record(self.evidence / "hops" / f"{hop.client}.{hop.hop}{region}.json", hop)

    def hops(self) -> list[Hop]:
        return [read_record(path, Hop) for path in sorted((self.evidence / "hops").glob("*.json"))]

    def write_browser_session(self, session: BrowserSession) -> None:
        write_record(self.evidence / "e2e" / "session.json", session)

    def browser_session(self) -> BrowserSession | None:
        path = self.evidence / "e2e" / "session.json"
        return read_record(path, BrowserSession) if path.exists() else None

    # Lists.

    def write_own_slo(self, text: str) -> None:
        (self.evidence / OWN_SLO).write_text(text, "utf-8")

    def own_slo(self) -> str | None:
        """The objectives of the user's own that the run is to meet (OpenSLO); None if there are none."""
        path = self.evidence / OWN_SLO
        return path.read_text("utf-8") if path.exists() else None

    def timeline(self) -> Appender[TimelineEvent]:
        return Appender(self.evidence / "timeline.jsonl")

    def timeline_events(self) -> list[TimelineEvent]:
        return sorted(read_lines(self.evidence / "timeline.jsonl", TimelineEvent), key=lambda event: event.at_ns)

    def host(self) -> Appender[HostSample]:
        return Appender(self.evidence / "host.jsonl")

    def host_samples(self) -> list[HostSample]:
        return list(read_lines(self.evidence / "host.jsonl", HostSample))

    def failures(self, scenario: str) -> Appender[Failure]:
        return Appender(self.evidence / "load" / f"{scenario}.failures.jsonl")

    def load_failures(self, scenario: str) -> list[Failure]:
        return list(read_lines(self.evidence / "load" / f"{scenario}.failures.jsonl", Failure))

    def probes(self, experiment: str) -> Appender[Probe]:
        """`experiment` is the folder's name, as `experiments` gives it."""
        return Appender(self.evidence / "chaos" / experiment / "probes.jsonl")

    def probe_history(self, experiment: str) -> list[Probe]:
        history = read_lines(self.evidence / "chaos" / experiment / "probes.jsonl", Probe)
        return sorted(history, key=lambda probe: probe.at_ns)

    def writes(self, client: str) -> Appender[Write]:
        return Appender(self.evidence / "ledger" / f"{client}.jsonl")

    def write_history(self, client: str) -> list[Write]:
        return list(read_lines(self.evidence / "ledger" / f"{client}.jsonl", Write))

    def spans(self, client: str) -> Appender[Span]:
        return Appender(self.evidence / "ledger" / f"{client}.spans.jsonl")

    def span_history(self, client: str) -> list[Span]:
        return list(read_lines(self.evidence / "ledger" / f"{client}.spans.jsonl", Span))

    def ledger_clients(self) -> list[str]:
        """The clients that left a ledger, by name."""
        paths = (self.evidence / "ledger").glob("*.jsonl")
        return sorted({path.name.removesuffix(".jsonl").removesuffix(".spans") for path in paths})

    def facts(self) -> Appender[Count]:
        return Appender(self.evidence / "facts.jsonl")

    def counts(self) -> list[Count]:
        return list(read_lines(self.evidence / "facts.jsonl", Count))

    def browser(self) -> Appender[BrowserTest]:
        return Appender(self.evidence / "e2e" / "tests.jsonl")

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

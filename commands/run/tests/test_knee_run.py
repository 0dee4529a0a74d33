"""The shell of the search: tries that leave evidence, the record, and what becomes the run's own. No system runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import reports
from commands.run import knee as knee_run
from commands.run import steps as runs
from commands.run.session import StepFailed
from loadtests.scenarios import scenarios
from loadtests.search.knee import Search
from reports.evidence import Fingerprint, HostSample, Knee, Load, Moment, Operation, Recorder, Run, RunFolder
from reports.model import Report
from reports.verdict import knee as knee_verdict

SECOND = 1_000_000_000
REGIONS = ["iad", "ams", "syd"]


class _Steps:
    """A session that starts nothing."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder.create(path)
        fingerprint = Fingerprint(
            cpu="c", cores=2, memory_gib=1.0, kernel="k", python="3", components={}, topology_sha256="t", commit="c"
        )
        self.run = Run(
            run_id="r", profile="load.api-browse", command="", seed=1, started_at="2026-01-01T00:00:00+00:00",
            started_ns=0, regions=REGIONS, fingerprint=fingerprint,
        )  # fmt: skip
        self.folder.write_run(self.run)
        self.phases: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[object]:
        self.phases.append(name)
        with suppress(StepFailed):
            yield None


@dataclasses.dataclass
class _System:
    """What `make_load` finds: reads take 20 ms up to the knee, 200 ms beyond; at some rates the generator is late."""

    knee: float
    breaks_at: float = float("inf")
    interrupts_at: float = float("inf")
    late_from: float = float("inf")
    late_to: float = float("inf")
    clock_ns: int = 1_000 * SECOND

    def make_load(
        self, run: _Steps, scenario: str, folder: RunFolder, progress: object, *, rate: float, duration_s: float,
        users: int | None,
    ) -> None:  # fmt: skip
        if rate >= self.interrupts_at:
            raise KeyboardInterrupt
        if rate >= self.breaks_at:
            raise StepFailed("api-browse: the load could not be made (exit code 1)\nand a log\nof many lines")
        begin_ns, end_ns = self.clock_ns, self.clock_ns + round(duration_s * SECOND)
        self.clock_ns = end_ns + SECOND
        offered = round(rate * duration_s)
        reads, lag = Recorder(), Recorder()
        reads.record_us(20_000 if rate <= self.knee else 200_000, offered // len(REGIONS))
        lag.record_us(100_000 if self.late_from <= rate <= self.late_to else 100, offered)
        folder.write_load(
            Load(
                scenario=scenario, begin_ns=begin_ns, end_ns=end_ns, warmup_s=0.0, offered_per_s=rate, offered=offered,
                sent=offered, ok=offered, failed=0, unknown=0, schedule_lag=lag.close(), seconds=[],
                operations=[
                    Operation(name="api.read_p99", region=region, latencies=reads.close()) for region in REGIONS
                ],
            )
        )  # fmt: skip
        with run.folder.host() as samples:
            for at_ns in range(begin_ns, end_ns + SECOND, SECOND):
                samples.add(
                    HostSample(
                        at_ns=at_ns, interval_s=1.0, busy=0.5, steal=0, foreign=0, timer_lag_ms=0.1, fsync_ms=0.1
                    )
                )
        with run.folder.timeline() as timeline:
            timeline.add(Moment(at_ns=end_ns, kind="note", name="api-browse"))


def _search(
    system: _System, path: Path, monkeypatch: pytest.MonkeyPatch, most: float = 1e6
) -> tuple[_Steps, Knee, list[str]]:
    """(session, record, what was said)"""
    said: list[str] = []
    monkeypatch.setattr(runs, "make_load", system.make_load)
    monkeypatch.setattr(knee_run, "say", said.append)
    monkeypatch.setattr(knee_run, "time", _Clock(system))
    steps = _Steps(path)
    knee = Knee(scenario="api-browse", unit="requests/s", step_s=10.0, resolution=0.2)
    tries: Any = knee_run._Tries(steps, scenarios()["api-browse"], knee, 400.0, None)  # type: ignore[arg-type]
    try:
        tries.search(Search(400.0, most, 0.2))
    except KeyboardInterrupt:
        pass
    finally:
        tries.close()
    (found,) = steps.folder.knees()
    return steps, found, said


class _Clock:
    """The clock of the simulated machine."""

    def __init__(self, system: _System) -> None:
        self._system = system

    def monotonic_ns(self) -> int:
        return self._system.clock_ns

    def monotonic(self) -> float:
        return self._system.clock_ns / SECOND

    def sleep(self, seconds: float) -> None:
        self._system.clock_ns += round(seconds * SECOND)


def _finished(steps: _Steps) -> Report:
    steps.folder.write_run(msgspec.structs.replace(steps.run, state="finished", finished_at=steps.run.started_at))
    return reports.assess(steps.folder)


def test_each_try_is_evidence_by_itself_and_the_best_one_is_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, found, said = _search(_System(knee=1000.0), tmp_path, monkeypatch)
    assert found.end == "found"
    assert found.held is not None
    assert found.missed is not None
    assert found.held <= 1000 < found.missed <= found.held * 1.2
    for step in found.steps:
        report = reports.assess(RunFolder(steps.folder.path / step.folder))
        assert report.verdict == ("PASS" if step.rate <= 1000 else "FAIL")
        assert step.busy == 0.5
    (load,) = steps.folder.loads()
    assert load.offered_per_s == found.held
    assert reports.exit_code(_finished(steps)) == 0
    (step,) = found.with_room
    assert step.rate == pytest.approx(0.8 * found.held, rel=0.01)
    assert step.outcome == "held"
    assert len({each.folder for each in [*found.steps, step]}) == len(found.steps) + 1
    assert len(said) == len(steps.phases) == len(found.steps) + 1


def test_a_late_generator_with_room_to_the_knee_is_tried_again_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found, _ = _search(_System(knee=1000.0, late_from=700.0, late_to=790.0), tmp_path, monkeypatch)
    assert found.end == "found"
    assert [step.outcome for step in found.with_room] == ["late"] * 3
    assert knee_verdict.verdict(found)[0] == "PASS"


def test_below_the_first_rate_a_try_takes_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found, _ = _search(_System(knee=150.0), tmp_path, monkeypatch)
    lengths = {step.rate: (step.end_ns - step.begin_ns) / SECOND for step in found.steps}
    assert (lengths[400.0], lengths[200.0], lengths[100.0]) == (10.0, 20.0, 40.0)


def test_a_load_that_cannot_be_made_ends_the_search_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, found, said = _search(_System(knee=1e6, breaks_at=1600.0), tmp_path, monkeypatch)
    assert (found.end, found.held, found.steps[-1].outcome) == ("failed", 800.0, "failed")
    assert said[-1] == "api-browse at 1600/s: failed: api-browse: the load could not be made (exit code 1)"
    (load,) = steps.folder.loads()
    assert load.offered_per_s == 800
    assert reports.exit_code(_finished(steps)) == 4


def test_interrupted_it_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, found, _ = _search(_System(knee=1e6, interrupts_at=1600.0), tmp_path, monkeypatch)
    assert (found.end, found.held, len(found.steps)) == (None, 800.0, 2)
    (load,) = steps.folder.loads()
    assert load.offered_per_s == 800


def test_where_nothing_holds_the_lowest_try_is_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, found, _ = _search(_System(knee=1.0), tmp_path, monkeypatch)
    assert (found.end, found.held) == ("inconclusive", None), "at 50/s no try has 1,000 operations a region"
    (load,) = steps.folder.loads()
    assert load.offered_per_s == found.steps[-1].rate == 50.0
    assert reports.exit_code(_finished(steps)) == 3

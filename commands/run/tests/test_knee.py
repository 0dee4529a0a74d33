"""The shell of the search: tries that leave evidence, the record, and what becomes the run's own. No system runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

import reports
from commands.run.expected import of_run
from commands.run.knee import KneeRun, judge_try
from commands.run.session import StepFailed
from infra.machine.progress import Report
from loadtests.request import CheckedRequest, Request
from loadtests.search.knee import Search
from reports.evidence import (
    Expected,
    ExpectedFile,
    ExpectedLoad,
    Fingerprint,
    HostSample,
    Knee,
    Load,
    Operation,
    Recorder,
    Run,
    RunFolder,
    Second,
    TimelineEvent,
)
from reports.model import Report as Assessed
from reports.policy.policy import load_policy
from reports.verdict.knee import verdict

SECOND = 1_000_000_000
REGIONS = ["iad", "ams", "syd"]


class _Run:
    """A run that starts nothing."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder.create(path)
        fingerprint = Fingerprint(
            cpu="c", cores=2, memory_gib=1.0, kernel="k", python="3", components={}, topology_sha256="t", commit="c"
        )
        self.run = Run(
            run_id="r", profile="knee.api-browse", command="", seed=1, started_at="2026-01-01T00:00:00+00:00",
            started_ns=0, regions=REGIONS, fingerprint=fingerprint,
        )  # fmt: skip
        self.folder.write_run(self.run)
        self.folder.write_expected(of_run(self.folder, self.run))
        self.phases: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[Report]:
        self.phases.append(name)
        with suppress(StepFailed):
            yield lambda fraction, text: None


@dataclasses.dataclass
class _System:
    """What a load finds: reads take 20 ms up to the knee, 200 ms beyond; at some rates the generator is late. It is the
    clock of its machine, too: no time passes but that of loads and of waiting."""

    run: _Run
    knee: float
    breaks_at: float = float("inf")
    interrupts_at: float = float("inf")
    late_from: float = float("inf")
    late_to: float = float("inf")
    silent_at: float = float("inf")
    """Above, a load leaves no record."""
    sampled: bool = True
    clock_ns: int = 1_000 * SECOND
    sampled_ns: int = 999 * SECOND

    def monotonic_ns(self) -> int:
        return self.clock_ns

    def monotonic(self) -> float:
        return self.clock_ns / SECOND

    def sleep(self, seconds: float, /) -> None:
        self.clock_ns += round(seconds * SECOND)

    def make_load(self, asked: CheckedRequest, folder: RunFolder, progress: Report) -> None:
        rate, duration_s = asked.arrival.mean_rate, asked.arrival.duration_s
        name = asked.scenario.name
        files = [ExpectedFile(path=f"load/{name}.json")]
        loads = [ExpectedLoad(name=name)]
        rows = ["api.read_p99.*"]
        folder.write_expected(Expected(phase=name, kind="load", rows=rows, files=files, loads=loads))
        if rate >= self.interrupts_at:
            raise KeyboardInterrupt
        if rate >= self.breaks_at:
            raise StepFailed("api-browse: the load could not be made (exit code 1)\nand a log\nof many lines")
        if rate >= self.silent_at:
            return
        begin_ns, end_ns = self.clock_ns, self.clock_ns + round(duration_s * SECOND)
        self.clock_ns = end_ns + SECOND
        offered = round(rate * duration_s) // len(REGIONS) * len(REGIONS)
        reads, lag = Recorder(), Recorder()
        reads.record_us(20_000 if rate <= self.knee else 200_000, offered // len(REGIONS))
        lag.record_us(100_000 if self.late_from <= rate <= self.late_to else 100, offered)
        took_ms = 20.0 if rate <= self.knee else 200.0
        ends = [round(offered * second / duration_s) for second in range(round(duration_s) + 1)]
        seconds = [
            Second(at_ns=begin_ns + n * SECOND, ok=end - first, failed=0, p50_ms=took_ms, p99_ms=took_ms)
            for n, (first, end) in enumerate(pairwise(ends))
        ]
        folder.write_load(
            Load(
                scenario=asked.scenario.name, begin_ns=begin_ns, end_ns=end_ns, warmup_s=0.0, offered_per_s=rate,
                offered=offered, sent=offered, ok=offered, failed=0, unknown=0, schedule_lag=lag.close(),
                seconds=seconds, operations=[
                    Operation(name="api.read_p99", region=region, latencies=reads.close()) for region in REGIONS
                ],
            )
        )  # fmt: skip
        with self.run.folder.host() as samples:
            for at_ns in range(begin_ns, end_ns + SECOND, SECOND) if self.sampled else ():
                interval_s = (at_ns - self.sampled_ns) / SECOND
                sample = HostSample(
                    at_ns=at_ns, interval_s=interval_s, busy=0.5, steal=0, foreign=0, timer_lag_ms=0.1, fsync_ms=0.1
                )
                samples.add(sample)
                self.sampled_ns = at_ns
        with self.run.folder.timeline() as timeline:
            timeline.add(TimelineEvent(at_ns=end_ns, kind="note", name="api-browse"))


@dataclasses.dataclass
class _Found:
    """What a search left."""

    run: _Run
    knee: Knee
    said: list[str]

    def report(self) -> Assessed:
        """The report of the run, once it has ended."""
        finished = msgspec.structs.replace(self.run.run, state="finished", finished_at=self.run.run.started_at)
        self.run.folder.write_run(finished)
        return reports.assess(self.run.folder)


@pytest.fixture
def run(tmp_path: Path) -> _Run:
    return _Run(tmp_path)


def _search(system: _System, most: float = 1e6) -> _Found:
    """Search from 400/s on, until the end or an interrupt."""
    said: list[str] = []
    tries = KneeRun(
        system.run, Request(scenario="api-browse", rate=400.0),
        Knee(scenario="api-browse", unit="requests/s", step_s=10.0, resolution=0.2), make_load=system.make_load,
        judge=partial(judge_try, load_policy()), say=said.append, clock=system,
    )  # fmt: skip
    try:
        tries.search(Search(400.0, most, 0.2))
    except KeyboardInterrupt:
        pass
    finally:
        tries.close()
    (knee,) = system.run.folder.knees()
    return _Found(system.run, knee, said)


def test_each_try_is_evidence_by_itself_and_the_best_one_is_the_runs(run: _Run) -> None:
    found = _search(_System(run, knee=1000.0))
    knee = found.knee
    assert knee.end == "found"
    assert knee.held is not None
    assert knee.missed is not None
    assert knee.held <= 1000 < knee.missed <= knee.held * 1.2
    for tried in knee.steps:
        report = reports.assess(RunFolder(run.folder.path / tried.folder))
        assert report.verdict == ("PASS" if tried.rate <= 1000 else "FAIL")
        assert tried.busy == 0.5
    (load,) = run.folder.loads()
    assert load.offered_per_s == knee.held
    assert reports.exit_code(found.report()) == 0
    (below,) = knee.with_room
    assert below.rate == pytest.approx(0.8 * knee.held, rel=0.01)
    assert below.outcome == "held"
    assert len({each.folder for each in [*knee.steps, below]}) == len(knee.steps) + 1
    assert len(found.said) == len(run.phases) == len(knee.steps) + 1


def test_a_late_generator_with_room_to_the_knee_is_tried_again_a_few_times(run: _Run) -> None:
    knee = _search(_System(run, knee=1000.0, late_from=700.0, late_to=790.0)).knee
    assert knee.end == "found"
    assert [tried.outcome for tried in knee.with_room] == ["late"] * 3
    assert verdict(knee)[0] == "PASS"


def test_below_the_first_rate_a_try_takes_longer(run: _Run) -> None:
    knee = _search(_System(run, knee=150.0)).knee
    lengths = {tried.rate: (tried.end_ns - tried.begin_ns) / SECOND for tried in knee.steps}
    assert (lengths[400.0], lengths[200.0], lengths[100.0]) == (10.0, 20.0, 40.0)


def test_a_load_that_cannot_be_made_ends_the_search_with_a_line(run: _Run) -> None:
    found = _search(_System(run, knee=1e6, breaks_at=1600.0))
    assert (found.knee.end, found.knee.held, found.knee.steps[-1].outcome) == ("failed", 800.0, "failed")
    assert found.said[-1] == "api-browse at 1600/s: failed: api-browse: the load could not be made (exit code 1)"
    (load,) = run.folder.loads()
    assert load.offered_per_s == 800
    assert reports.exit_code(found.report()) == 4


def test_a_try_without_a_record_failed(run: _Run) -> None:
    found = _search(_System(run, knee=1e6, silent_at=400.0))
    assert [(tried.outcome, tried.why) for tried in found.knee.steps] == [("failed", "it left no record")]
    assert run.folder.loads() == []


def test_samples_of_the_machine_are_waited_for_three_seconds_at_most(run: _Run) -> None:
    system = _System(run, knee=1e6, sampled=False)
    begin_ns = system.clock_ns
    knee = _search(system, most=400.0).knee
    tries = [*knee.steps, *knee.with_room]
    loads_s = sum((tried.end_ns - tried.begin_ns) / SECOND + 1 for tried in tries)
    waited_s = (system.clock_ns - begin_ns) / SECOND - loads_s
    assert waited_s / len(tries) == pytest.approx(3.0, abs=0.2)
    assert [tried.outcome for tried in tries] == ["inconclusive"], "a machine that nobody watched may hold anything"
    assert "no sample of the machine" in tries[0].why


def test_interrupted_it_keeps_what_it_had(run: _Run) -> None:
    knee = _search(_System(run, knee=1e6, interrupts_at=1600.0)).knee
    assert (knee.end, knee.held, len(knee.steps)) == (None, 800.0, 2)
    (load,) = run.folder.loads()
    assert load.offered_per_s == 800


def test_where_nothing_holds_the_lowest_try_is_the_runs(run: _Run) -> None:
    found = _search(_System(run, knee=1.0))
    assert (found.knee.end, found.knee.held) == ("inconclusive", None), "at 50/s no try has 1,000 operations a region"
    (load,) = run.folder.loads()
    assert load.offered_per_s == found.knee.steps[-1].rate == 50.0
    assert reports.exit_code(found.report()) == 3

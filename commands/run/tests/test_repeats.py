"""When a phase is made again: a session whose system starts nothing, and a machine that is written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from commands.run.pace import REPEATS_S, Pace
from commands.run.repeats import Phase, in_tries
from commands.run.session import Session, StepFailed
from commands.run.tests.test_session import Pretended, session
from infra.machine.progress import Report
from reports.evidence import Experiment, HostSample, RunFolder, Try
from reports.evidence.folder import EvidenceError

LOAD = Phase(title="api-browse", name="api-browse", kind="load", records=["api-browse"])
KILL = Phase(title="kill", name="kill", kind="experiment", records=["kill"])
BUSY, QUIET = 0.5, 0.0


class Clock:
    """Each phase takes ten seconds of it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return round(self.now_s * 1e9)

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Session]:
    with session(RunFolder.create(tmp_path / "run"), Pretended()) as run:
        run.start()
        yield run


def make(run: Session, foreign: Sequence[float], phase: Phase = LOAD, then: Callable[[], None] = lambda: None) -> int:
    """Make a phase while others take so much of the machine in each try; how often it was made."""
    clock, made = Clock(), 0
    taken = iter(foreign)

    def once(progress: Report) -> None:
        nonlocal made
        made, share = made + 1, next(taken)
        (run.folder.evidence / "load").mkdir(exist_ok=True)
        (run.folder.evidence / "load" / "made.log").write_text(str(made))
        with run.folder.host() as samples:
            for _ in range(11):
                samples.add(
                    HostSample(
                        at_ns=clock.monotonic_ns(), interval_s=1, busy=0.9, steal=0.0, foreign=share, timer_lag_ms=0,
                        fsync_ms=0,
                    )
                )  # fmt: skip
                clock.now_s += 1
        clock.now_s -= 1
        then()

    in_tries(run, phase, once, clock)
    return made


def healed(run: Session, **changes: bool) -> Callable[[], None]:
    """Leave the record of an experiment."""
    facts = {"healed": True, "steady_after": True, **changes}
    record = Experiment(id="kill", title="", target="", begin_ns=1, end_ns=10**15, **facts)  # type: ignore[arg-type]
    return lambda: run.folder.write_experiment(record)


def test_a_phase_that_nothing_disturbed_is_made_once(run: Session) -> None:
    assert make(run, [QUIET]) == 1
    (tries,) = run.folder.tries()
    assert tries.tries == [Try(begin_ns=1000 * 10**9, end_ns=1010 * 10**9)]
    assert (run.folder.evidence / "load" / "made.log").read_text() == "1"


def test_a_disturbed_try_is_set_aside_and_made_again(run: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(run, [BUSY, QUIET]) == 2
    (tries,) = run.folder.tries()
    assert [(each.cause, each.set_aside) for each in tries.tries] == [
        ("other programs 50% of all cores", True),
        ("", False),
    ]
    assert (run.folder.evidence / "load" / "made.log").read_text() == "2"
    aside = RunFolder(run.folder.try_dir("api-browse", 1))
    assert (aside.evidence / "load" / "made.log").read_text() == "1"
    said = capsys.readouterr().err
    assert "api-browse, try 2: repeated, because other programs 50% of all cores" in said


def test_a_try_that_broke_is_set_aside_by_the_same_rule(run: Session) -> None:
    def break_down() -> None:
        raise StepFailed("no load")

    assert make(run, [QUIET], then=break_down) == 1
    assert make(run, [BUSY, QUIET], then=break_down) == 2


def test_a_phase_is_repeated_twice_at_most_and_says_so(run: Session) -> None:
    assert make(run, [BUSY] * 9) == 3
    (tries,) = run.folder.tries()
    assert [each.set_aside for each in tries.tries] == [True, True, False]
    assert tries.tries[-1].cause
    assert tries.refused == "2 repeats of a phase are the most"


def test_a_run_repeats_three_times_at_most(run: Session) -> None:
    assert make(run, [BUSY] * 9) == 3
    other = LOAD._replace(title="bus-ingest", name="bus-ingest")
    assert make(run, [BUSY] * 9, other) == 2
    assert run.folder.tries()[1].refused == "3 repeats in a run are the most"


def test_a_repeat_that_does_not_fit_is_not_made(run: Session, capsys: pytest.CaptureFixture[str]) -> None:
    run.pace = Pace([], reserve_s=9)
    assert make(run, [BUSY] * 9) == 1
    (tries,) = run.folder.tries()
    assert tries.refused == "another 10 s do not fit into the 9 s that are left for repeats"
    assert f"api-browse: disturbed and not repeated: {tries.tries[0].cause}; {tries.refused}" in capsys.readouterr().err


def test_a_load_or_an_experiment_by_itself_may_be_repeated_for_as_long_as_in_a_night(run: Session) -> None:
    assert run.pace.left_s("repeats") == REPEATS_S


def test_an_experiment_is_repeated_from_a_healed_and_steady_system_alone(run: Session) -> None:
    assert make(run, [BUSY] * 9, KILL) == 1, "it left no record"
    assert make(run, [BUSY] * 9, KILL, healed(run, healed=False)) == 1
    assert make(run, [BUSY] * 9, KILL, healed(run, steady_after=False)) == 1
    assert run.folder.tries()[0].refused == "the steady state is not known to hold again"
    assert make(run, [BUSY, QUIET], KILL, healed(run)) == 2


def test_a_system_with_a_planted_bug_is_tried_once(run: Session) -> None:
    run.run.planted = "analytics-no-guard"
    assert make(run, [BUSY] * 9) == 1
    assert run.folder.tries() == []


def test_a_try_counts_if_it_cannot_be_said_what_disturbed_it(run: Session) -> None:
    path = run.folder.evidence / "host.jsonl"
    path.write_text("damaged\n")
    with pytest.raises(EvidenceError):
        run.folder.host_samples()
    assert make(run, [BUSY] * 9) == 1


def test_an_interrupt_ends_the_tries(run: Session) -> None:
    def interrupt() -> None:
        if run.repeated:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(run, [BUSY] * 9, then=interrupt)
    (tries,) = run.folder.tries()
    assert [each.set_aside for each in tries.tries] == [True]


def test_the_sampler_is_waited_for_by_a_real_clock_only_as_long_as_needed(run: Session) -> None:
    began = time.monotonic_ns()
    with run.folder.host() as samples:
        samples.add(
            HostSample(at_ns=began + 10**12, interval_s=1, busy=0, steal=0, foreign=0, timer_lag_ms=0, fsync_ms=0)
        )
    in_tries(run, LOAD, lambda progress: None)
    assert len(run.folder.tries()[0].tries) == 1

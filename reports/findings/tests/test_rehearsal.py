"""What short tries of a load before it say: carried, disturbed, or too small a machine; and what that does to rows."""

from __future__ import annotations

import msgspec
import pytest

from reports.evidence import HostSample, Load
from reports.findings.loaded import Evidence
from reports.model import Report
from reports.tests.spoilt_run import load_of, lost_write, report_of, row_of
from reports.tests.synthetic_run import SECOND, at, latencies

_BEFORE_S = -20.0
"""The tries are before anything else of the recorded run."""


def tried(evidence: Evidence, *lags_ms: float, scenario: str = "bus-ingest") -> None:
    """Tries of a load, one after the other, each as late as that."""
    [load] = [each for each in evidence.loads if each.scenario == scenario]
    evidence.rehearsals += [
        msgspec.structs.replace(
            load, begin_ns=at(_BEFORE_S + 6 * number), end_ns=at(_BEFORE_S + 6 * number) + 4 * SECOND,
            schedule_lag=latencies([lag_ms] * 4000).close(),
        )
        for number, lag_ms in enumerate(lags_ms)
    ]  # fmt: skip


def busy(evidence: Evidence, *, foreign: float = 0.0, throttled: float = 0.0) -> None:
    """How the machine was while the tries were made."""
    evidence.host += [
        HostSample(
            at_ns=at(_BEFORE_S + second), interval_s=1.0, busy=0.95, steal=0.0, foreign=foreign, timer_lag_ms=1.0,
            fsync_ms=1.0, by_kind={"nats": 0.6 - foreign / 2, "load": 0.3 - foreign / 2}, throttled=throttled,
        )
        for second in range(1, 16)
    ]  # fmt: skip


def late(evidence: Evidence, lag_ms: float) -> Load:
    """The load itself, so late."""
    load_of(evidence, "bus-ingest", schedule_lag=latencies([lag_ms] * 20_000).close())
    return next(each for each in evidence.loads if each.scenario == "bus-ingest")


def said(report: Report) -> tuple[str, str]:
    [one] = report.rehearsed
    return one.outcome, one.says


def test_a_try_on_time_says_that_the_machine_carries_the_load(evidence: Evidence) -> None:
    tried(evidence, 0.2)
    outcome, says = said(report_of(evidence))
    assert outcome == "carried"
    assert says.startswith("this machine carries bus-ingest at ")
    assert "expected a schedule lag of at most 1.00 ms at p99, found 0.20 ms in 4 s before the load" in says


def test_one_late_try_of_two_is_a_bad_moment(evidence: Evidence) -> None:
    tried(evidence, 4.0, 0.2)
    busy(evidence)
    assert said(report_of(evidence))[0] == "carried"


def test_a_machine_that_is_late_each_time_is_too_small_and_says_for_what(evidence: Evidence) -> None:
    tried(evidence, 4.0, 3.0)
    busy(evidence)
    report = report_of(evidence)
    outcome, says = said(report)
    assert outcome == "too_small"
    assert says.startswith("this machine is too small, bus-ingest at ")
    assert "found 4.00 ms and 3.00 ms in 4 s before the load" in says
    assert "the run itself took 90%: nats 60%, load 30%" in says
    assert set(report.rehearsed[0].rows) == {"bus.publish_p99", "bus.delivery_p99"}
    assert says in report.notes


def test_a_machine_whose_cores_others_take_is_disturbed(evidence: Evidence) -> None:
    tried(evidence, 4.0, 3.0)
    busy(evidence, foreign=0.3)
    outcome, says = said(report_of(evidence))
    assert outcome == "disturbed"
    assert "other programs 30% of all cores; end them and run again" in says


def test_a_cpu_limit_makes_a_machine_small(evidence: Evidence) -> None:
    tried(evidence, 4.0, 3.0)
    busy(evidence, throttled=0.4)
    assert said(report_of(evidence))[0] == "too_small"


def test_without_samples_of_the_machine_nobody_else_is_to_blame(evidence: Evidence) -> None:
    tried(evidence, 4.0, 3.0)
    assert said(report_of(evidence))[0] == "too_small"


@pytest.mark.parametrize("row", ["bus.publish_p99", "bus.delivery_p99", "harness.honesty"])
@pytest.mark.parametrize(
    ("tries", "foreign", "too_small"),
    [
        pytest.param([], 0.0, False, id="nothing was said before"),
        pytest.param([0.2], 0.0, False, id="it was to be on time"),
        pytest.param([4.0, 3.0], 0.3, False, id="others took the machine"),
        pytest.param([4.0, 3.0], 0.0, True, id="it was said that the machine is too small"),
    ],
)
def test_a_late_load_is_invalid_and_says_whether_that_was_foretold(
    evidence: Evidence, row: str, tries: list[float], foreign: float, too_small: bool
) -> None:
    tried(evidence, *tries)
    busy(evidence, foreign=foreign)
    late(evidence, 5.0)
    found = row_of(report_of(evidence), row)
    assert found.verdict == "INVALID", found.why
    assert ("this machine is too small" in found.why) == too_small
    assert "was late itself" in found.why


def test_a_machine_found_too_small_excuses_no_row_that_was_measured_on_time(evidence: Evidence) -> None:
    [load] = [each for each in evidence.loads if each.scenario == "bus-ingest"]
    slow = [
        msgspec.structs.replace(each, latencies=latencies([300.0] * 5000).close())
        if each.name == "bus.publish_p99"
        else each
        for each in load.operations
    ]
    load_of(evidence, "bus-ingest", operations=slow)
    tried(evidence, 4.0, 3.0)
    busy(evidence)
    report = report_of(evidence)
    assert row_of(report, "bus.publish_p99").verdict == "FAIL"
    assert row_of(report, "bus.delivery_p99").verdict == "PASS"


def test_a_machine_found_too_small_excuses_no_lost_write(evidence: Evidence) -> None:
    lost_write(evidence)
    tried(evidence, 4.0, 3.0)
    late(evidence, 5.0)
    report = report_of(evidence)
    assert (row_of(report, "recovery.rpo_loss").verdict, report.verdict) == ("FAIL", "FAIL")


def test_another_load_s_tries_say_nothing_of_a_late_one(evidence: Evidence) -> None:
    tried(evidence, 40.0, 30.0, scenario="api-browse")
    late(evidence, 5.0)
    assert row_of(report_of(evidence), "bus.publish_p99").verdict == "INVALID"

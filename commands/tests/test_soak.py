"""How long a soak has to be: what the sampler reads in half an hour is as much as its rows take."""

from __future__ import annotations

from infra.machine import sampler
from reports.evidence import HostSample, Load, Recorder
from reports.findings.loaded import Evidence
from reports.model import Row
from reports.policy.policy import load_policy
from reports.tests.spoilt_run import report_of
from reports.tests.synthetic_run import Story, run_record

SECOND = 1_000_000_000
SAMPLE_S = 1.02
"""A sample begins when the one before has ended: a little more than a second after."""


def _held(length_s: float) -> Row:
    """The row of memory after a load of that length, sampled as the sampler does."""
    nothing = Recorder().close()
    load = Load(
        scenario="soak", begin_ns=0, end_ns=round(length_s * SECOND), warmup_s=60, offered_per_s=30, offered=1, sent=1,
        ok=1, failed=0, unknown=0, schedule_lag=nothing, operations=[], seconds=[],
    )  # fmt: skip
    host = [
        HostSample(
            at_ns=round(number * SAMPLE_S * SECOND), interval_s=SAMPLE_S, busy=0.4, steal=0, foreign=0,
            timer_lag_ms=0.2, fsync_ms=0.3, memory_mib={"nats": 90.0} if number % sampler.TURNS == 0 else {},
        )
        for number in range(round(length_s / SAMPLE_S))
    ]  # fmt: skip
    evidence = Evidence(run=run_record(Story(profile="soak")), loads=[load], host=host)
    report = report_of(evidence)
    return next(row for row in report.slos if row.id == "soak.memory")


def test_half_an_hour_is_enough() -> None:
    row = _held(1800)
    assert row.verdict == "PASS"
    assert row.samples >= load_policy().minimum_samples("soak.memory")


def test_a_quarter_of_an_hour_is_not() -> None:
    row = _held(900)
    assert row.verdict == "INCONCLUSIVE"
    assert "samples of the 60 that it takes" in row.why

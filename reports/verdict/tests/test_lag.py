"""Replication lag: when it is judged, and when a miss is the harness's own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from reports.evidence import Operation
from reports.findings.loaded import load
from reports.model import Row
from reports.tests.spoilt_run import report_of, row_of
from reports.tests.synthetic_run import Story, latencies, write_run


def lag_of(tmp_path: Path, lags_ms: list[float], looks_ms: float) -> Row:
    """The row of ams in a run of mixed-nightly whose heartbeats were late by so much."""
    story = Story(requests=3_000, seconds=3, profile="load.mixed-nightly", experiments=[])
    evidence = load(write_run(tmp_path / "run", story))
    found = [
        Operation(name="recovery.lag", region="ams", latencies=latencies(lags_ms).close()),
        Operation(name="recovery.lag_resolution", region="ams", latencies=latencies([looks_ms] * len(lags_ms)).close()),
    ]
    evidence.loads = [msgspec.structs.replace(evidence.loads[0], operations=found)]
    return row_of(report_of(evidence), "recovery.lag.ams")


@pytest.mark.parametrize(
    ("lags_ms", "looks_ms", "verdict", "why"),
    [
        ([45.0] * 1990 + [99.0] * 10, 2.5, "PASS", "the worst 99.0 ms; of a lag at most 2.5 ms (p99)"),
        ([45.0] * 1970 + [130.0] * 30, 2.5, "FAIL", "the worst 130.0 ms"),
        ([45.0] * 900, 2.5, "INCONCLUSIVE", "900 samples of the 1,000"),
        ([45.0] * 2000, 40.0, "PASS", "at most 40.0 ms"),
        ([130.0] * 2000, 40.0, "INVALID", "the replica was looked at too rarely"),
    ],
)
def test_a_lag_is_judged_by_its_p99(
    tmp_path: Path, lags_ms: list[float], looks_ms: float, verdict: str, why: str
) -> None:
    row = lag_of(tmp_path, lags_ms, looks_ms)
    assert (row.verdict, why in row.why) == (verdict, True), row.why


def test_a_load_without_heartbeats_is_inconclusive(tmp_path: Path) -> None:
    assert lag_of(tmp_path, [], 2.5).verdict == "INCONCLUSIVE"

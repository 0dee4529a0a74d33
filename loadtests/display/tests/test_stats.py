"""Locust's own figures are those of the measured window, within its rounding: on a real Locust, from its CSV files."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests import run as runner
from loadtests.request import Request, check
from loadtests.tests.load_servers import DEADLINE_S, Api
from reports.evidence import Load, RunFolder, merge, percentile_ms
from system.wire import REGIONS

_PERCENTS = {"50%": 50.0, "75%": 75.0, "90%": 90.0, "95%": 95.0, "99%": 99.0}
_TOTAL = "Aggregated"


def _run(api: Api, make_target: Callable[..., Path], folder: RunFolder) -> tuple[Load, dict[str, dict[str, str]]]:
    """The load's record, and Locust's statistics by name."""
    asked = check(Request(scenario="api-browse", rate=200, duration_s=2.0, warmup_s=1.0, users=2))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url))
    (load,) = folder.loads()
    with (folder.evidence / "load" / "api-browse.locust_stats.csv").open(newline="") as file:
        return load, {row["Name"]: row for row in csv.DictReader(file)}


def _rounded(ms: float) -> tuple[float, float]:
    """What Locust may show for a time: two digits, whole milliseconds."""
    slack = max(1.0, ms * 0.05)
    return ms - slack, ms + slack


def test_totals_and_percentiles_are_those_of_the_measured_window(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    load, shown = _run(api, make_target, RunFolder.create(tmp_path / "run"))
    total = shown[_TOTAL]
    assert (load.offered, load.ok) == (400, 400)
    assert (int(total["Request Count"]), int(total["Failure Count"])) == (400, 0)
    assert sum(int(row["Request Count"]) for name, row in shown.items() if name != _TOTAL) == 400
    assert float(total["Requests/s"]) == pytest.approx(load.offered_per_s, rel=0.25), "of the window alone"
    everything = merge(operation.latencies for operation in load.operations)
    for column, percent in _PERCENTS.items():
        # The nearest rank may be counted from either side.
        low, high = (percentile_ms(everything, min(100.0, max(0.1, percent + by))) for by in (-0.26, 0.26))
        assert low is not None
        assert high is not None
        assert _rounded(low)[0] <= float(total[column]) <= _rounded(high)[1], column
    assert float(total["Max Response Time"]) == pytest.approx(percentile_ms(everything, 100), rel=0.002)
    assert float(total["Min Response Time"]) == pytest.approx(percentile_ms(everything, 0.1), rel=0.002)


def test_failures_are_counted_and_named(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    api.broken[REGIONS] = 503
    load, shown = _run(api, make_target, folder)
    assert load.failed > 0
    assert int(shown[_TOTAL]["Failure Count"]) == load.failed
    assert int(shown[_TOTAL]["Request Count"]) == load.ok + load.failed
    with (folder.evidence / "load" / "api-browse.locust_failures.csv").open(newline="") as file:
        failures = list(csv.DictReader(file))
    assert {row["Error"] for row in failures} == {"status 503"}
    assert sum(int(row["Occurrences"]) for row in failures) == load.failed


_MASTER_AND_WORKER = """
from locust.env import Environment
from loadtests.recording.live import LiveStats
from loadtests.display.stats import Shown
from locust.stats import setup_distributed_stats_event_listeners

worker, master = Environment(), Environment()
setup_distributed_stats_event_listeners(worker.events, worker.stats)
setup_distributed_stats_event_listeners(master.events, master.stats)
shown, live = Shown(worker.stats), LiveStats()
for report in range(4):
    for latency_ms in (10.0, 20.0, 470.0):
        live.add("GET", "/x", latency_ms, "late" if latency_ms > 100 else "", 5)
    for stat in live.take():
        shown.add(stat, 1000.0 + report, 999.0)
    data = {}
    worker.events.report_to_master.fire(client_id="w", data=data)
    master.events.worker_report.fire(client_id="w", data=data)
for entry in (master.stats.total, master.stats.get("/x", "GET")):
    assert (entry.num_requests, entry.num_failures) == (60, 20), entry.num_requests
    assert entry.response_times == {10: 20, 20: 20, 470: 20}
    assert (entry.min_response_time, entry.max_response_time) == (10.0, 470.0)
    assert entry.total_response_time == 20 * 500.0
    assert entry.get_response_time_percentile(0.5) == 20
(error,) = master.stats.errors.values()
assert error.occurrences == 20
assert worker.stats.total.num_requests == 0, "it was shipped, and is not shipped again"
"""


def test_what_a_worker_is_told_reaches_its_master_whole_and_once() -> None:
    environment = {**os.environ, "LOCUST_SKIP_MONKEY_PATCH": "1"}
    command = [sys.executable, "-c", _MASTER_AND_WORKER]
    done = subprocess.run(command, env=environment, timeout=2 * DEADLINE_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

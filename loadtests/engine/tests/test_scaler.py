"""A second API process beside the first one: what is told of it, and a whole scale-out on the running system."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.fabric.process.system import System
from infra.machine import processes
from loadtests import run as runner
from loadtests.clients.second_api import requests_in
from loadtests.engine.scaler import Served, words
from loadtests.request import Request, check
from reports.evidence import RunFolder

METRICS = """# HELP covenant_http_requests_total Requests answered.
covenant_http_requests_total{method="GET",route="/api/v1/projects",status="200"} 41.0
covenant_http_requests_total{method="GET",route="/api/v1/regions",status="200"} 1.0
covenant_http_requests_total{method="GET",route="/api/v1/projects/{project_id:str}",status="200"} 7.0
covenant_http_requests_total{method="GET",route="/metrics",status="200"} 9.0
covenant_http_requests_created{method="GET",route="/api/v1/projects",status="200"} 1.7e+09
"""


def test_only_what_visitors_ask_for_is_counted() -> None:
    assert requests_in(METRICS) == 42
    assert requests_in("") == 0


@pytest.mark.parametrize(
    ("served", "first", "second", "told"),
    [
        (Served(), 0, 0, "answered nothing before the load ended"),
        (
            Served(ready_s=2.04, answered_s=1.51), 300, 100,
            "ready 2.0 s after its start, first answer after 1.5 s; from then on it answered 25% of 400 requests",
        ),
        (Served(answered_s=1.0), 0, 0, "not ready yet, first answer after 1.0 s"),
    ],
)  # fmt: skip
def test_what_became_of_it_is_told(served: Served, first: int, second: int, told: str) -> None:
    assert told in words(served, first, second)


@pytest.mark.running
def test_a_second_process_serves_and_goes_again(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="scale-out", rate=40, duration_s=24, warmup_s=1))
    runner.run(asked, folder=folder, target_path=system.target_path)
    (load,) = folder.loads()
    told = load.settings["second process"]
    assert "s after its start, first answer after" in told
    assert "it answered 0%" not in told
    assert load.settings["connections"] == "a new one for each request"
    assert "median" in load.settings["with one process"]
    assert "median" in load.settings["with two, in the last quarter"]
    assert load.offered == load.sent
    apis = [one for one in processes.of_home(system.site.path) if one.environ().get(processes.KIND) == "api"]
    records = [system.processes.table.record(part) for part in system.parts]
    ours = {one.pid for record in records for one in processes.tree(processes.find(record))}
    assert {one.pid for one in apis} <= ours, "the second one has gone"

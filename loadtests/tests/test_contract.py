"""Whole loads leave what they said beforehand, and one of whose processes was killed is missed by its name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra import target as targets
from infra.machine import processes
from loadtests import run as runner
from loadtests.expected import expected_of
from loadtests.locust_process import LoadError
from loadtests.recording.early import Gate
from loadtests.request import CheckedRequest, Request, check
from loadtests.tests.load_servers import Api, NatsServer
from reports.evidence import Expected, ExpectedRun, RunFolder
from reports.findings.evidence_contract import Difference, differences
from reports.findings.loaded import load
from reports.tests.synthetic_run import Story, run_record
from system.wire import REGIONS


def declared(asked: CheckedRequest, folder: RunFolder, target_path: Path) -> None:
    """Write down what a load will leave, as a session does."""
    record = run_record(Story(profile=f"load.{asked.scenario.name}", experiments=[]))
    folder.write_run(record)
    run = ExpectedRun(record=record, sampled=False)
    folder.write_expected(Expected(phase="session", kind="session", run=run))
    plan = asked.plan(folder=folder.path, work=Path("work"), target=targets.read(target_path), target_path=target_path)
    folder.write_expected(expected_of(asked.scenario, plan, ["availability"]))


def lacking(folder: RunFolder, *, audited: bool = False) -> list[Difference]:
    """What is not as it was to be. An audit is the session's, and none was made here."""
    found = differences(load(folder))
    if audited:
        return [each for each in found if not each.path.startswith(("hops/", "consistency/", "facts.jsonl"))]
    return found


@pytest.mark.parametrize(
    "request_",
    [
        Request(scenario="api-browse", rate=80, duration_s=1.5, warmup_s=0.5, users=2),
        Request(scenario="api-browse", arrival="poisson", rate=80, duration_s=1.5, warmup_s=0),
        Request(scenario="api-browse", arrival="step:20,80", duration_s=2.0, warmup_s=0.5, users=2),
        Request(scenario="bus-ingest", rate=400, duration_s=1.5, warmup_s=0.5, users=2),
        Request(scenario="bus-ingest", rate=500, duration_s=1, warmup_s=0.5, mode="atomic"),
        Request(scenario="bus-ingest", rate=500, duration_s=1, warmup_s=0.5, mode="fast"),
        Request(scenario="bus-throughput", rate=5000, duration_s=1, warmup_s=0.5),
        Request(scenario="event-frames", rate=5000, duration_s=1, warmup_s=0.5),
        Request(scenario="payload-sweep", rate=40, duration_s=4.5, warmup_s=0.5),
        Request(scenario="connection-storm", rate=200, duration_s=3, warmup_s=0.5),
        Request(scenario="api-write", rate=60, duration_s=1.5, warmup_s=0.5, users=2),
        Request(scenario="mixed-nightly", rate=60, duration_s=2, warmup_s=0.5),
    ],
    ids=lambda request: f"{request.scenario}-{request.mode or request.arrival or request.users or ''}",
)
def test_a_load_leaves_what_it_said(
    nats_server: NatsServer, api: Api, make_target: Callable[..., Path], tmp_path: Path, request_: Request
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked, target_path = check(request_), make_target(nats=nats_server.url, api=api.url)
    declared(asked, folder, target_path)
    runner.run(asked, folder=folder, target_path=target_path)
    assert lacking(folder, audited=asked.scenario.audited or request_.scenario == "payload-sweep") == []


def test_requests_that_fail_are_no_difference(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    api.broken[REGIONS] = 503
    folder = RunFolder.create(tmp_path / "run")
    asked, target_path = check(Request(scenario="api-browse", rate=80, duration_s=1.0)), make_target(api=api.url)
    declared(asked, folder, target_path)
    runner.run(asked, folder=folder, target_path=target_path)
    (made,) = folder.loads()
    assert made.failed > 0
    assert lacking(folder, audited=True) == []


def test_a_server_that_is_killed_is_no_difference(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    killed: list[float] = []

    def kill_once(fraction: float, text: str) -> None:
        if fraction > 0.3 and not killed:
            killed.append(fraction)
            nats_server.kill()
            nats_server.start()

    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="bus-ingest", rate=500, duration_s=4, warmup_s=0))
    target_path = make_target(nats=nats_server.url)
    declared(asked, folder, target_path)
    runner.run(asked, folder=folder, target_path=target_path, progress=kill_once)
    assert killed
    assert lacking(folder) == []


def test_a_load_that_is_ended_early_is_no_difference(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    api.broken[REGIONS] = 503
    folder = RunFolder.create(tmp_path / "run")
    asked, target_path = check(Request(scenario="api-browse", rate=800, duration_s=60)), make_target(api=api.url)
    declared(asked, folder, target_path)
    gate = Gate(row="api.read_p99", region="iad", limit_ms=100.0, minimum=100)
    runner.run(asked, folder=folder, target_path=target_path, gates=[gate])
    (made,) = folder.loads()
    assert made.ended_early
    assert lacking(folder, audited=True) == []


def test_a_process_that_was_killed_is_missed_by_its_name(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    """What the others left adds up to all that they offered."""
    killed: list[int] = []

    def kill_one(fraction: float, text: str) -> None:
        if fraction > 0.3 and not killed:
            mine = [each for each in psutil.process_iter() if _is_engine(each, "reader-1")]
            killed.extend(each.pid for each in mine)
            for each in mine:
                each.send_signal(signal.SIGKILL)

    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="api-browse", rate=90, duration_s=4, warmup_s=0, users=3))
    target_path = make_target(api=api.url)
    declared(asked, folder, target_path)
    with pytest.raises(LoadError):
        runner.run(asked, folder=folder, target_path=target_path, progress=kill_one)
    assert killed
    (made,) = folder.loads()
    assert made.sent == made.ok == made.offered < 360
    assert {str(each) for each in lacking(folder)} >= {
        "load/api-browse.json: results of 4 of 5 processes are in it, none of reader-1",
        "load/api-browse.failures.jsonl: 2 of 3 processes closed it",
    }


def _is_engine(process: psutil.Process, name: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    mine = bool(words) and words[-1].endswith(f"/{name}.spec.json")
    return mine and process.environ().get(processes.RUN_ID) == f"test.{os.getpid()}"

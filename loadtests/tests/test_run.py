"""Whole loads, as a user runs them: Locust, engines, a real nats-server or a real HTTP server, evidence."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import target as targets
from loadtests import run as runner
from loadtests.locust_process import LoadError
from loadtests.recording.early import Gate
from loadtests.request import Request, check
from loadtests.tests.load_servers import DEADLINE_S, Api, NatsServer, wait_until
from reports.evidence import Hop, Load, RunFolder, percentile_ms
from system.wire import COUNTRIES, PROJECTS, REGIONS

Numbers = set[int]


def _numbers(spans: list[tuple[int, int]]) -> Numbers:
    return {number for first, last in spans for number in range(first, last + 1)}


def _ledger(folder: RunFolder) -> dict[str | None, Numbers]:
    """Outcome -> the numbers of publisher 1 that have it."""
    spans = folder.span_history("bus-ingest")
    return {
        outcome: _numbers([(span.first, span.last) for span in spans if span.outcome == outcome])
        for outcome in (None, "ok", "fail", "unknown")
    }


def _results(folder: RunFolder) -> tuple[Load, Hop]:
    (load,), (hop,) = folder.loads(), folder.hops()
    assert hop.problem is None
    return load, hop


def _check_accounts(folder: RunFolder, total: int) -> tuple[Load, Hop]:
    """The ledger, the counts and the stream tell the same story about every number."""
    load, hop = _results(folder)
    ledger = _ledger(folder)
    found = _numbers([(first, last) for _, first, last in hop.spans])
    assert ledger[None] >= ledger["ok"] | ledger["unknown"], "in the ledger before it was sent"
    assert ledger["ok"] | ledger["fail"] | ledger["unknown"] == set(range(total))
    assert len(ledger["ok"]) + len(ledger["fail"]) + len(ledger["unknown"]) == total, "one outcome a number"
    assert ledger["ok"] <= found, "acknowledged and not in the stream"
    assert not ledger["fail"] & found, "said to be refused, and in the stream"
    assert hop.doubled_spans == []
    assert load.sent == load.offered == load.ok + load.failed + load.unknown
    return load, hop


def _no_process_is_left(run_id: str) -> bool:
    for process in psutil.process_iter():
        try:
            if process.environ().get("COVENANT_RUN_ID") == run_id and process.status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.Error:
            continue
    return True


def test_every_number_is_acknowledged_and_found(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    told: list[tuple[float, str]] = []
    asked = check(Request(scenario="bus-ingest", rate=400, duration_s=1.5, warmup_s=0.5, users=2))
    target = make_target(nats=nats_server.url)
    runner.run(asked, folder=folder, target_path=target, progress=lambda fraction, text: told.append((fraction, text)))
    load, hop = _results(folder)
    assert (load.offered, load.sent, load.ok, load.failed, load.unknown) == (600, 600, 600, 0, 0)
    assert sum(second.ok for second in load.seconds) == 600
    assert hop.spans == [(1, 0, 399), (2, 0, 399)]
    assert hop.doubled_spans == []
    samples = {operation.name: operation.latencies.samples for operation in load.operations}
    assert samples == {"bus.publish_p99": 600, "bus.delivery_p99": 600, "bus.end_to_end_p99": 600}
    assert load.settings["durability"] == "one replica, file, sync_interval always"
    assert load.settings["payload_bytes"] == "128"
    assert told[0][0] == 0.0
    assert told[-1][0] == 1.0
    shown = (folder.evidence / "load" / "bus-ingest.locust.log").read_text()
    assert "publish" in shown, "Locust lists what the engines did"
    assert "600     0(0.00%)" in shown.split("Shutting down")[1], "and how often, in the measured window"


def test_what_was_asked_for_is_what_runs_whatever_the_caller_has_configured(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locust's options in the home folder and in the environment; a proxy that leads nowhere."""
    (tmp_path / ".locust.conf").write_text("run-time = 1s\n")
    for name, value in {
        "HOME": str(tmp_path), "LOCUST_RUN_TIME": "1s", "LOCUST_MASTER": "true", "http_proxy": "http://127.0.0.1:9",
        "all_proxy": "socks5://127.0.0.1:9",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "locust.conf").write_text("run-time = 1s\n")
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="bus-ingest", rate=400, duration_s=2, warmup_s=0.5))
    runner.run(asked, folder=folder, target_path=make_target(nats=nats_server.url))
    load, _ = _results(folder)
    assert (load.offered, load.sent, load.ok) == (800, 800, 800)


@pytest.mark.parametrize("rate", [1000, 21_000])
def test_a_server_that_is_killed_costs_no_number(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path, rate: int
) -> None:
    """In singles, and in batches."""
    folder = RunFolder.create(tmp_path / "run")
    kills: list[float] = []

    def kill_once(fraction: float, text: str) -> None:
        if 0.2 < fraction < 1.0 and not kills:
            kills.append(fraction)
            nats_server.kill()
            nats_server.start()

    asked = check(Request(scenario="bus-ingest", rate=rate, duration_s=4, warmup_s=0))
    runner.run(asked, folder=folder, target_path=make_target(nats=nats_server.url), progress=kill_once)
    assert kills, "killed while the load was on"
    load, _ = _check_accounts(folder, total=4 * rate)
    assert "connection lost" in load.settings["notes"]
    assert load.ok > 0


def test_a_frozen_server_shows_as_latency_and_not_as_lag(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    frozen: list[float] = []

    def freeze_between_two_calls(fraction: float, text: str) -> None:
        if 0.2 < fraction < 1.0 and not frozen:
            frozen.append(time.monotonic())
            nats_server.signal(signal.SIGSTOP)
        elif len(frozen) == 1:
            frozen.append(time.monotonic())
            nats_server.signal(signal.SIGCONT)

    asked = check(Request(scenario="bus-ingest", rate=500, duration_s=4, warmup_s=0))
    runner.run(asked, folder=folder, target_path=make_target(nats=nats_server.url), progress=freeze_between_two_calls)
    load, _ = _check_accounts(folder, total=2000)
    frozen_ms = (frozen[1] - frozen[0]) * 1000
    publish = next(each.latencies for each in load.operations if each.name == "bus.publish_p99")
    slowest_ms, lag_ms = percentile_ms(publish, 99), percentile_ms(load.schedule_lag, 90)
    assert slowest_ms is not None
    assert lag_ms is not None
    assert slowest_ms > frozen_ms / 2
    assert lag_ms < frozen_ms / 4


def test_interrupted_it_keeps_its_evidence_and_leaves_no_process(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    target = make_target(nats=nats_server.url)
    run_id = targets.read(target).run_id

    def interrupt(fraction: float, text: str) -> None:
        if 0.0 < fraction < 1.0:
            raise KeyboardInterrupt

    asked = check(Request(scenario="bus-ingest", rate=200, duration_s=600, warmup_s=0))
    with pytest.raises(KeyboardInterrupt):
        runner.run(asked, folder=folder, target_path=target, progress=interrupt)
    load, _ = _results(folder)
    assert 0 < load.ok == load.offered < 200 * 600
    assert load.end_ns - load.begin_ns < 600 * 1_000_000_000
    wait_until(lambda: _no_process_is_left(run_id), "all processes of the load to end")


RUNS_A_LOAD = """
import sys
from pathlib import Path
from loadtests import run
from loadtests.request import Request, check
from reports.evidence import RunFolder
asked = check(Request(scenario="bus-ingest", rate=200, duration_s=600, warmup_s=0, users=2))
run.run(asked, folder=RunFolder.create(Path(sys.argv[1])), target_path=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("locust_too", [False, True], ids=["the harness", "the harness and Locust"])
def test_killed_it_leaves_no_process(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path, locust_too: bool
) -> None:
    target = make_target(nats=nats_server.url)
    command = [sys.executable, "-c", RUNS_A_LOAD, str(tmp_path / "run"), str(target)]
    with subprocess.Popen(command) as harness:
        started = psutil.Process(harness.pid)

        def under_way() -> bool:
            words = [word for one in started.children(recursive=True) for word in one.cmdline()]
            spans = (tmp_path / "run").exists() and RunFolder(tmp_path / "run").span_history("bus-ingest")
            return words.count("loadtests.engine.bus_publisher") == 2 and bool(spans)

        wait_until(under_way, "the load to be under way")
        left = started.children(recursive=True)
        killed = [one for one in left if "locust" in one.cmdline()] if locust_too else []
        for one in [started, *killed]:
            one.kill()
    _, alive = psutil.wait_procs(left, timeout=DEADLINE_S)
    assert alive == []


def test_locusts_page_shows_the_load_while_it_runs_and_ends_with_it(
    api: Api, make_target: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    shown: list[dict[str, Any]] = []

    def look(fraction: float, text: str) -> None:
        if 0.0 < fraction < 1.0 and not shown:
            address = re.search(r"http://127\.0\.0\.1:\d+", capfd.readouterr().err)
            assert address is not None
            with urllib.request.urlopen(f"{address[0]}/stats/requests", timeout=DEADLINE_S) as answer:
                shown.append(json.load(answer))

    asked = check(Request(scenario="api-browse", rate=50, duration_s=4, warmup_s=0, web=True))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url), progress=look)
    (load,) = folder.loads()
    assert load.ok == 200
    assert {entry["method"] for entry in shown[0]["stats"] if entry["name"] != "Aggregated"} == {"GET"}
    assert 0 < sum(entry["num_requests"] for entry in shown[0]["stats"] if entry["name"] != "Aggregated") <= 200


def test_reads_go_to_every_region_in_the_stated_mix(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="api-browse", rate=80, duration_s=1.5, warmup_s=0.5))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url))
    (load,) = folder.loads()
    assert (load.offered, load.sent, load.ok, load.requests) == (120, 120, 120, True)
    assert {operation.region: operation.latencies.samples for operation in load.operations} == {"iad": 60, "ams": 60}
    assert {operation.name for operation in load.operations} == {"api.read_p99"}
    assert all(api.seen[f"GET {path}"] > 0 for path in (PROJECTS, f"{PROJECTS}/project-1", COUNTRIES, REGIONS))
    assert folder.load_failures("api-browse") == []


def test_requests_arrive_as_they_were_asked_to(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="api-browse", arrival="step:20,80", duration_s=2.0, warmup_s=0.5, users=2))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url))
    (load,) = folder.loads()
    assert (load.offered, load.sent, load.ok) == (100, 100, 100)
    assert [second.ok for second in load.seconds] == [20, 80]
    assert load.settings["arrival"] == "step:20,80"


def test_reads_that_fail_are_counted_and_named(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    api.broken[REGIONS] = 503
    asked = check(Request(scenario="api-browse", rate=80, duration_s=1.0, warmup_s=0))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url))
    (load,) = folder.loads()
    failures = folder.load_failures("api-browse")
    assert load.failed == sum(failure.count for failure in failures) > 0
    assert {(failure.outcome, failure.detail) for failure in failures} == {("fail", "status 503")}
    assert load.ok + load.failed == 80


@pytest.mark.parametrize("mode", ["singles", "atomic", "fast"])
def test_messages_are_published_as_they_are_asked_to(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path, mode: str
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="bus-ingest", rate=500, duration_s=1, warmup_s=0, mode=mode))
    runner.run(asked, folder=folder, target_path=make_target(nats=nats_server.url))
    load, hop = _results(folder)
    assert mode in load.settings["mode"]
    assert load.ok == load.offered == sum(last - first + 1 for _, first, last in hop.spans)


def test_a_fast_load_is_read_when_it_is_over_and_its_deliveries_are_not_timed(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="bus-ingest", duration_s=1, warmup_s=0, arrival="spike:50000@0.9..0.92", rate=1000))
    runner.run(asked, folder=folder, target_path=make_target(nats=nats_server.url))
    load, hop = _results(folder)
    assert [operation.name for operation in load.operations] == ["bus.publish_p99"]
    assert load.untimed.keys() == {"bus.delivery_p99", "bus.end_to_end_p99"}
    assert "read when the load is over, as always above" in load.settings["subscriber"]
    assert load.ok == load.offered == sum(last - first + 1 for _, first, last in hop.spans)


@pytest.mark.parametrize("shape", ["ramp:100..700", "poisson+step:200,600"])
def test_messages_arrive_as_they_are_asked_to(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path, shape: str
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="bus-ingest", duration_s=2, warmup_s=0, users=2, arrival=shape))
    runner.run(asked, folder=folder, target_path=make_target(nats=nats_server.url))
    load, hop = _results(folder)
    assert load.offered_per_s == 400
    first, second = (each.ok for each in load.seconds[:2])
    assert 1.5 * first < second
    assert load.ok == load.offered == sum(last - first + 1 for _, first, last in hop.spans)


def test_a_load_ends_as_soon_as_its_gate_can_no_longer_hold(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    """Of 24,000 operations in each of two regions 240 may fail. About a fifth of them do, 80 a second."""
    folder = RunFolder.create(tmp_path / "run")
    api.broken[REGIONS] = 503
    asked = check(Request(scenario="api-browse", rate=800, duration_s=60, warmup_s=0))
    gate = Gate(row="api.read_p99", region="iad", limit_ms=1000.0, minimum=100)
    runner.run(asked, folder=folder, target_path=make_target(api=api.url), gates=[gate])
    (load,) = folder.loads()
    assert re.fullmatch(
        r"after [\d.]+ s of 60 s: api\.read_p99\.iad: 2\d\d operations failed or took more than 1000 ms, and of all "
        r"24,000 that were planned 240 may",
        load.ended_early,
    )
    assert 240 < load.failed < load.offered < 24_000
    assert load.sent == load.offered == load.ok + load.failed, "what was offered until then was sent"
    assert load.end_ns - load.begin_ns < 30 * 1_000_000_000
    (note,) = [event for event in folder.timeline_events() if event.kind == "note"]
    assert note.detail == f"ended early {load.ended_early}"


def test_a_token_that_is_not_taken_is_a_failure_that_names_itself(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    api.broken[REGIONS] = 401
    asked = check(Request(scenario="api-browse", rate=80, duration_s=1.0, warmup_s=0))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url))
    details = {failure.detail for failure in folder.load_failures("api-browse")}
    assert details == {"status 401 (the bearer token was refused)"}


def test_a_load_that_cannot_be_made_says_why(make_target: Callable[..., Path], tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="api-browse", rate=10, duration_s=1))
    with pytest.raises(LoadError, match="connection refused, never sent"):
        runner.run(asked, folder=folder, target_path=make_target())
    assert folder.loads() == []


def test_a_load_whose_first_read_is_refused_ends_at_once_and_says_why(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    api.broken[PROJECTS] = 503
    asked = check(Request(scenario="api-browse", rate=10, duration_s=1))
    with pytest.raises(LoadError, match=r"expected 200, found 503"):
        runner.run(asked, folder=folder, target_path=make_target(api=api.url))


def test_listing_scenarios_imports_no_locust() -> None:
    script = (
        "import sys; from loadtests import run; from loadtests.scenarios import scenarios; scenarios();"
        "sys.exit(len({'locust', 'gevent'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0

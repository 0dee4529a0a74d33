"""The loads of events on a running system: every event is found at every consumer, once, and the rates are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.fabric.process.system import System
from loadtests import run as runner
from loadtests.request import Request, check
from loadtests.tests.test_contract import declared, lacking
from reports.evidence import Load, RunFolder
from reports.findings import ledger
from reports.model import LedgerResult
from system.wire import observer

pytestmark = pytest.mark.running


def offered(
    system: System, folder: RunFolder, scenario: str, rate: float, seconds: float, *, warmup_s: float
) -> Load:  # fmt: skip
    """Run it; its record."""
    asked = check(Request(scenario=scenario, rate=rate, duration_s=seconds, warmup_s=warmup_s))
    declared(asked, folder, system.target_path)
    runner.run(asked, folder=folder, target_path=system.target_path)
    assert lacking(folder, audited=asked.scenario.audited) == []
    [load] = [load for load in folder.loads() if load.scenario == scenario]
    return load


def checked(system: System, folder: RunFolder, scenario: str) -> LedgerResult:
    """The ledger of numbered events against every hop, of which none may lack an event or have one twice."""
    found = ledger.check(scenario, [], folder.span_history(scenario), folder.hops())
    regions = system.target().regions
    assert {(hop.hop, hop.region) for hop in found.hops} == {
        ("outbox", None), *((one.name, one.region) for one in observer.instances(regions)),
    }  # fmt: skip
    for hop in found.hops:
        assert (hop.problem, hop.lost, hop.duplicated, hop.unexpected) == (None, 0, 0, 0), hop
    assert found.failed == found.unknown == 0
    return found


def test_a_paced_load_is_applied_by_all_six_consumers_in_every_region(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    load = offered(system, folder, "bus-fanout", 200.0, 3.0, warmup_s=1.0)
    assert checked(system, folder, "bus-fanout").acked == 800
    rates = {rate.name: rate for rate in load.rates}
    assert rates["bus.applied"].offered == rates["bus.relayed"].offered == load.offered == 600
    assert 0 < rates["bus.applied"].completed <= rates["bus.relayed"].completed <= 600
    timed = {one.name: one.latencies for one in load.operations}
    assert timed["bus.applied"].samples == timed["bus.relayed"].samples == 600
    assert "not through the API" in load.settings["path"]


def test_a_backlog_is_worked_off_and_each_of_its_events_applied_once(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    load = offered(system, folder, "catch-up", 1_000.0, 10.0, warmup_s=0.0)
    assert checked(system, folder, "catch-up").acked == load.offered == 10_000
    rates = {rate.name: rate.completed for rate in load.rates}
    assert rates["bus.applied"] > 0, load.settings
    assert load.schedule_lag.samples == 10_000


def test_writes_through_the_api_are_found_in_the_stream(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    # A first connection from Sydney to the primary takes over a second: a write that waited for one in the warm-up
    # would be committed in the window.
    load = offered(system, folder, "relay-path", 9.0, 3.0, warmup_s=3.0)
    [rate] = load.rates
    [timed] = [one.latencies for one in load.operations if one.name == "bus.relayed"]
    assert rate.offered == load.offered
    assert 0 < rate.completed <= timed.samples <= load.ok
    assert load.settings["path"].startswith("API")

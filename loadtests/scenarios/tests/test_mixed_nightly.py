"""Loads of several kinds at once, over real servers: each keeps its own account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.fabric.process.system import System
from loadtests import run as runner
from loadtests.request import Request, check
from loadtests.tests.load_servers import Api, NatsServer
from reports.evidence import RunFolder, percentile_ms


def test_loads_of_two_kinds_have_a_record_and_a_ledger_each(
    nats_server: NatsServer, api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    """Reads, writes and watchers are requests; the messages beside them are not."""
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="mixed-nightly", rate=60, duration_s=2, warmup_s=0.5))
    target = make_target(nats=nats_server.url, api=api.url)
    runner.run(asked, folder=folder, target_path=target)
    loads = {load.scenario: load for load in folder.loads()}
    mixed, bus = loads["mixed-nightly"], loads["mixed-nightly-bus"]
    assert (mixed.requests, bus.requests) == (True, False)
    assert {op.name for op in mixed.operations} == {"api.read_p99", "api.write_p99", "realtime.p99"}
    assert {op.name for op in bus.operations} == {"bus.publish_p99", "bus.delivery_p99", "bus.end_to_end_p99"}
    assert mixed.ok == mixed.offered == 120
    assert bus.ok == bus.offered == 240
    assert folder.ledger_clients() == ["mixed-nightly", "mixed-nightly-bus"]
    assert {hop.client for hop in folder.hops()} == {"mixed-nightly-bus"}


@pytest.mark.running
def test_all_of_it_at_once_on_the_running_system(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="mixed-nightly", rate=30, duration_s=8, warmup_s=2))
    runner.run(asked, folder=folder, target_path=system.target_path)
    loads = {load.scenario: load for load in folder.loads()}
    mixed, bus = loads["mixed-nightly"], loads["mixed-nightly-bus"]
    regions = system.target().regions
    per_region = ("api.read_p99", "api.write_p99", "recovery.lag", "recovery.lag_resolution")
    expected = {(name, region) for name in per_region for region in regions}
    assert {(op.name, op.region) for op in mixed.operations} == {*expected, ("realtime.p99", None)}
    assert mixed.ok == mixed.offered
    assert bus.ok == bus.offered
    lags = {op.region: op.latencies for op in mixed.operations if op.name == "recovery.lag"}
    assert {each.negative for each in lags.values()} == {0}
    # Every region has seen the same ones. On a machine that stalls some of the 400 are not written or not answered, and
    # named.
    [(seen, unknown)] = {(each.samples, each.unknown) for each in lags.values()}
    assert 200 <= seen <= 400 - unknown
    if system.target().enter:  # With distance: half of the round trip from iad is on its way.
        low_ms = {region: percentile_ms(each, 1) or 0.0 for region, each in lags.items()}
        assert low_ms["iad"] < 30 < low_ms["ams"] < 80 < low_ms["syd"], low_ms

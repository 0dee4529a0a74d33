"""The bus calibrated around a load: what it took, how full the machine was, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import target as targets
from infra.machine.spec import EngineError
from loadtests.engine import load_stream
from loadtests.search import calibration
from loadtests.search.calibration import CalibrationError, Cores
from loadtests.tests.load_servers import NatsServer
from reports.evidence.calibration import SLICES_MIN

BEFORE = "cpu  300 0 0 700 0 0 0 0 0 0\ncpu0 100 0 0 300 0 0 0 0 0 0\ncpu1 200 0 0 400 0 0 0 0 0 0\nintr 1 2\n"
AFTER = "cpu  410 0 0 715 5 0 10 60 0 0\ncpu0 150 0 0 310 5 0 5 30 0 0\ncpu1 260 0 0 405 0 0 5 30 0 0\nintr 2 3\n"


def test_a_core_that_waits_for_a_disk_is_not_busy_and_one_that_was_taken_away_is() -> None:
    before, after = Cores.read(BEFORE), Cores.read(AFTER)
    assert after.busy_since(before) == [0.85, 0.95]
    assert after.used_since(before) == 180


def test_messages_are_stored_and_counted_and_the_stream_is_gone(
    nats_server: NatsServer, make_target: Callable[..., Path]
) -> None:
    place = make_target(nats=nats_server.url)
    found = calibration.calibrate(
        "bus-ingest", "bus.throughput", "before", target_path=place, warmup_s=0.2, slice_s=0.2, slices_max=6,
        steady_at=0.0, window=40,
    )  # fmt: skip
    assert found.acked > 0
    assert found.failed == 0
    assert found.end_ns > found.begin_ns
    assert (len(found.slices), sum(found.slices)) == (6, found.acked), "never steady enough: as long as it may take"
    assert len(found.busy) > 0
    assert 0 < found.generator < 1
    assert found.servers == 0, "this server is not of a system"
    assert found.settings["durability"] == "one replica, file, sync_interval always"
    with pytest.raises(EngineError, match="NotFoundError"):
        asyncio.run(load_stream.bounds(targets.read(place)))


def test_it_ends_when_its_slices_agree(nats_server: NatsServer, make_target: Callable[..., Path]) -> None:
    found = calibration.calibrate(
        "bus-ingest", "bus.throughput", "before", target_path=make_target(nats=nats_server.url), warmup_s=0.2,
        slice_s=0.1, steady_at=100.0, window=40,
    )  # fmt: skip
    assert len(found.slices) == SLICES_MIN


def test_a_bus_that_is_not_there_is_said(make_target: Callable[..., Path]) -> None:
    with pytest.raises(CalibrationError, match="expected a NATS server that takes us"):
        calibration.calibrate("bus-ingest", "bus.throughput", "after", target_path=make_target())

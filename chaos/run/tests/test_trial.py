"""What a trial says beforehand, and what it keeps of what its probes counted. No system runs."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from chaoslib.exceptions import ActivityFailed

from chaos import running
from chaos.faults.activity import Activity
from chaos.handover import Counted, Facts
from chaos.run import trial
from infra.fabric.protocol import Fabric
from loadtests.tests.test_request import APART
from reports.evidence import Count, RunFolder
from reports.evidence.closing import kept

REGIONS = ["iad", "ams", "syd"]


@pytest.fixture
def system(tmp_path: Path) -> Fabric:
    site = SimpleNamespace(path=tmp_path / "home")
    site.path.mkdir()
    return cast(Fabric, SimpleNamespace(site=site, target=lambda: APART))


def trial_of(experiment: str, system: Fabric, tmp_path: Path, repeat: int = 1) -> Any:
    return trial._Trial(experiment, RunFolder.create(tmp_path / "run"), system, lambda fraction, text: None, repeat)


def test_an_experiment_says_beforehand_what_it_will_leave(system: Fabric, tmp_path: Path) -> None:
    trial_of("bus-leader-kill", system, tmp_path, repeat=2).declare("bus-leader-kill (2)")
    (found,) = RunFolder(tmp_path / "run").expected()
    assert (found.phase, found.kind) == ("bus-leader-kill (2)", "experiment")
    assert [file.path for file in found.files] == [
        "chaos/bus-leader-kill.2/experiment.json", "chaos/bus-leader-kill.2/probes.jsonl",
        "ledger/bus-leader-kill.2.jsonl",
    ]  # fmt: skip
    assert {"recovery.rto", "bus.replication"} <= set(found.rows), "the second one by its file's own word"
    assert found.trial is not None
    assert found.trial.places == [
        *((region, operation) for region in REGIONS for operation in ("read", "write")), ("bus", "publish"),
        ("bus", "effect"),
    ]  # fmt: skip
    assert (found.trial.probe_hz, found.trial.loses_region) == (20.0, False)
    assert {hop.client for hop in found.hops} == {"bus-leader-kill.2"}


def test_only_the_loss_of_a_region_may_lose_one(system: Fabric, tmp_path: Path) -> None:
    trial_of("region-loss", system, tmp_path).declare(None)
    (found,) = RunFolder(tmp_path / "run").expected()
    assert found.phase == "region-loss"
    assert found.trial is not None
    assert found.trial.loses_region


def test_a_count_for_a_row_that_takes_none_makes_a_failed_step(system: Fabric, tmp_path: Path) -> None:
    facts, now = Facts(system.site.path), time.monotonic_ns()
    one = trial_of("gateway-cut", system, tmp_path)
    for row in ("bus.gateways", "bus.gatewais", "availability"):
        count = Count(row=row, value=1, unit="s", how="a message", ok=False)
        facts.add(Counted(experiment="gateway-cut", at_ns=now + 10**9, count=count))
    one.conclude()
    folder = RunFolder(tmp_path / "run")
    ((_, record),) = folder.experiments()
    assert [step.partition("found ")[2] for step in record.failed_steps] == ["'bus.gatewais'", "'availability'"]
    assert [count.row for count in folder.counts()] == ["bus.gateways"]
    assert kept(folder.evidence)["facts.jsonl"].problem is None


def test_a_probe_may_not_count_for_nothing(system: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "system", lambda: system)
    activity = Activity({"experiment": "gateway-cut"})
    activity.count("bus.gateways", 1.0, "s", "a message", ok=False)
    with pytest.raises(ActivityFailed, match=r"expected a row that takes facts .*, found 'availability'"):
        activity.count("availability", 1.0, "", "refused", ok=False)
    assert len(Facts(system.site.path).of("gateway-cut")) == 1

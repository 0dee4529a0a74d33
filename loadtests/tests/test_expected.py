"""What a load says that it will leave, for every scenario. Starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import target as targets
from ledger.looks import Sought, effect_looks
from loadtests.expected import audited_hops, engines_of, expected_of
from loadtests.plan import Plan
from loadtests.request import Request, check
from loadtests.scenarios import scenarios
from loadtests.tests.test_request import APART, REGIONS, TOGETHER
from reports.evidence import Expected, ExpectedHop


def plan_of(name: str, tmp_path: Path, users: int | None = None) -> Plan:
    target_path = tmp_path / "target.json"
    targets.write(TOGETHER, target_path)
    asked = check(Request(scenario=name, users=users))
    return asked.plan(folder=tmp_path / "run", work=Path("work"), target=TOGETHER, target_path=target_path)


def declared(name: str, tmp_path: Path, users: int | None = None) -> Expected:
    return expected_of(scenarios()[name], plan_of(name, tmp_path, users), ["availability"])


@pytest.mark.parametrize("name", list(scenarios()))
def test_every_scenario_says_what_it_leaves(name: str, tmp_path: Path) -> None:
    expected = declared(name, tmp_path)
    records = [name, *(f"{name}-{beside}" for beside in scenarios()[name].beside)]
    assert sorted(load.name for load in expected.loads) == records
    files = {file.path for file in expected.files}
    assert {f"load/{record}.json" for record in records} <= files
    assert all(load.engines for load in expected.loads)
    assert [load.name for load in expected.loads if load.requests] == ([name] if scenarios()[name].requests else [])
    assert bool(expected.hops) or not any(path.startswith("ledger/") for path in files), "a ledger is looked for"
    if name != "payload-sweep":  # Whose large messages are fewer.
        assert all(load.operations > 0 for load in expected.loads)


def test_every_process_of_a_load_is_one_that_closes_its_files(tmp_path: Path) -> None:
    expected = declared("api-write", tmp_path, users=6)
    assert expected.loads[0].engines == [f"writer-{user}" for user in range(6)]
    assert {file.path: file.writers for file in expected.files} == {
        "load/api-write.json": 1, "load/api-write.failures.jsonl": 6, "ledger/api-write.jsonl": 6,
    }  # fmt: skip
    assert expected.facts == {"bus.exactly_once": 2, "ledger.contents": 1}
    assert expected.rows == ["availability"]


def test_the_least_that_is_offered_leaves_room_for_chance_alone(tmp_path: Path) -> None:
    (load,) = declared("api-browse", tmp_path).loads
    offered = 300 * 60
    assert offered * 5 / 6 < load.operations < offered, "one of six generators would be missed"


def test_loads_beside_have_processes_of_their_own(tmp_path: Path) -> None:
    found = {load.name: load.engines for load in declared("mixed-nightly", tmp_path).loads}
    assert found["mixed-nightly-bus"] == ["subscriber", "publisher-1"]
    assert "heartbeats" in found["mixed-nightly"]
    assert "reader-0" in found["mixed-nightly"]


def test_a_process_that_the_machine_decides_on_is_not_counted_on(tmp_path: Path) -> None:
    plan = plan_of("connection-storm", tmp_path)
    holders = [engine for engine in engines_of(scenarios()["connection-storm"], plan) if engine.name[:6] == "holder"]
    assert [engine.sure for engine in holders][:2] in ([True], [True, False])


def test_the_hops_of_a_ledger_are_those_that_the_audit_looks_at() -> None:
    mine = [hop for hop in audited_hops("c", REGIONS) if hop.effect]
    looks = effect_looks(APART, Sought([], 0, b""))
    assert mine == [ExpectedHop("c", look.hop, look.region, look.effect) for look in looks]

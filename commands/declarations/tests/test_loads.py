"""Each omission is named with the line to add, and what is whole is not."""

from __future__ import annotations

import pytest
from msgspec import structs

from commands.declarations import loads
from loadtests import own_locustfile
from loadtests.request import Request
from loadtests.scenarios import scenarios
from reports.policy.claims import load_claims
from reports.policy.policy import Policy, Unbuilt, load_policy
from reports.verdict.measures import MEASURES


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


def test_the_project_is_whole() -> None:
    assert loads.problems() == []


def test_a_scenario_without_a_profile_is_named(policy: Policy) -> None:
    wanted = [f"load.{name}" for name in (*scenarios(), "night-shift")]
    (problem,) = loads.profiles_missing(wanted, policy.profiles)
    assert "profile load.night-shift" in problem
    assert "`  load.night-shift: [ROW, ..., harness.honesty]` below `profiles:`" in problem
    assert problem.startswith("reports/policy.yaml ")


def test_a_profile_without_a_scenario_is_named(policy: Policy) -> None:
    profiles = {**policy.profiles, "load.night-shift": ["availability"]}
    (problem,) = loads.profiles_without_scenario(profiles, (*scenarios(), own_locustfile.NAME))
    assert problem.startswith("profile load.night-shift ")
    assert '`SCENARIO = Scenario(name="night-shift", ...)` in loadtests/scenarios/night_shift.py' in problem


def test_profiles_of_other_runs_need_no_scenario() -> None:
    assert loads.profiles_without_scenario(["smoke", "chaos", "load.soak"], ["soak"]) == []


@pytest.mark.parametrize("row", ["bus.throughput", "api.read_p99", "recovery.rto"])
def test_a_judged_row_without_a_measure_is_named(policy: Policy, row: str) -> None:
    measures = {name: measure for name, measure in MEASURES.items() if name != row}
    (problem,) = loads.rows_without_measure(policy.profiles, policy, load_claims(), measures)
    assert problem.startswith(f"row {row} ")
    assert f'`"{row}": <module>.<function>,` to MEASURES in reports/verdict/measures/__init__.py' in problem


@pytest.mark.parametrize("row", ["bus.throughput", "api.read_p99", "recovery.rto"])
def test_a_judged_row_without_a_minimum_of_samples_is_named(policy: Policy, row: str) -> None:
    without = structs.replace(policy, minimum={name: least for name, least in policy.minimum.items() if name != row})
    (problem,) = loads.rows_without_minimum(policy.profiles, without, load_claims())
    assert problem.startswith(f"row {row} ")
    assert f"`  {row}: {{samples: N, why: ...}}` below `minimum:`" in problem


def test_a_row_that_is_only_judged_where_it_was_measured_needs_a_measure(policy: Policy) -> None:
    measures = {name: measure for name, measure in MEASURES.items() if name != "bus.gateways"}
    (problem,) = loads.rows_without_measure(["chaos"], policy, load_claims(), measures)
    assert problem.startswith("row bus.gateways ")


def test_a_row_that_is_not_built_yet_or_not_judged_needs_no_measure(policy: Policy) -> None:
    without = {name: measure for name, measure in MEASURES.items() if name != "bus.limits"}
    unbuilt = structs.replace(policy, unbuilt=[*policy.unbuilt, Unbuilt(rows=["bus.limits"], why="not yet")])
    assert loads.rows_without_measure(["load.payload-sweep"], unbuilt, load_claims(), without) == []
    assert loads.rows_without_measure(["load.api-browse"], policy, load_claims(), without) == []


def test_a_load_of_a_profile_that_cannot_be_is_named() -> None:
    planned = {"smoke": [Request(scenario="api-browse"), Request(scenario="api-browse", rate=-1)]}
    (problem,) = loads.loads_that_cannot_be(planned)
    assert problem.startswith("profile smoke asks for a load that cannot be: rate: expected")
    assert problem.endswith("commands/run/profiles.py")


def test_a_run_is_told_what_keeps_it_from_being_judged() -> None:
    assert loads.problems_of("load.api-browse") == []
    (problem,) = loads.problems_of("load.night-shift")
    assert "profile load.night-shift" in problem

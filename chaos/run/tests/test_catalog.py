"""The experiments as files: Chaos Toolkit takes each, and the plan says what it does."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from chaoslib.exceptions import InvalidActivity

from chaos.run import catalog, toolkit
from chaos.run.catalog import UnknownExperiment, experiments, plan, read
from infra.topology import model as topology
from system import wire
from system.wire import observer

IDS = [info.id for info in experiments()]


def activities(experiment: str) -> list[dict[str, Any]]:
    content = read(experiment)
    return [*content["steady-state-hypothesis"]["probes"], *content["method"], *content["rollbacks"]]


def test_the_experiments_are_listed_with_their_titles() -> None:
    assert IDS == [
        "analytics-kill", "audit-logger-kill", "bus-leader-kill", "bus-leader-pause", "gateway-cut", "link-cut-one-way",
        "link-cut", "link-slow", "patroni-kill", "pg-primary-kill", "pg-primary-pause", "realtime-kill", "region-loss",
        "relay-kill", "table-drop",
    ]  # fmt: skip
    assert all(info.title for info in experiments())


@pytest.mark.parametrize("experiment", IDS)
def test_chaos_toolkit_accepts_it(experiment: str) -> None:
    toolkit.validate(experiment)


def test_chaos_toolkit_refuses_an_argument_that_no_function_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    content = read(IDS[0])
    content["method"][0]["provider"]["arguments"]["colour"] = "red"
    monkeypatch.setattr(toolkit, "read", lambda experiment: content)
    with pytest.raises(InvalidActivity, match="colour"):
        toolkit.validate(IDS[0])


@pytest.mark.parametrize("experiment", IDS)
def test_the_configuration_says_which_experiment_it_is(experiment: str) -> None:
    assert read(experiment)["configuration"] == {"experiment": experiment}


@pytest.mark.parametrize("experiment", IDS)
def test_it_proves_its_fault_before_it_undoes_it_and_undoes_it_in_any_case(experiment: str) -> None:
    content = read(experiment)
    functions = [activity["provider"]["func"] for activity in content["method"]]
    undone = functions.index("undo_fault")
    assert functions[0].startswith(("kill_", "crash_", "cut_", "drop_", "pause_", "slow_"))
    assert undone >= 2
    assert "wait_for_redundancy" in functions[undone:]
    assert [activity["provider"]["func"] for activity in content["rollbacks"]] == ["undo_fault"]
    assert content["runtime"]["rollbacks"]["strategy"] == "always"


@pytest.mark.parametrize("experiment", IDS)
def test_every_function_is_published_by_its_module(experiment: str) -> None:
    for activity in activities(experiment):
        provider = activity["provider"]
        assert provider["func"] in importlib.import_module(provider["module"]).__all__


@pytest.mark.parametrize("experiment", IDS)
def test_no_experiment_names_a_region_or_a_part(experiment: str) -> None:
    regions = set(topology.load().regions)
    for activity in activities(experiment):
        for value in activity["provider"].get("arguments", {}).values():
            assert regions.isdisjoint(str(value).split("-")), f"{activity['name']}: {value}"


def test_the_bus_experiment_is_about_the_stream_of_project_events() -> None:
    streams = {
        activity["provider"].get("arguments", {}).get("stream") for activity in activities("bus-leader-kill")
    } - {None}
    assert streams == {wire.PROJECTS_STREAM.name}


def test_consumers_are_called_what_the_system_calls_them() -> None:
    arguments = [activity["provider"].get("arguments", {}) for name in IDS for activity in activities(name)]
    named = {known["consumer"] for known in arguments if "consumer" in known}
    assert named == {"analytics", "audit-logger", "frontend-realtime"}
    assert named <= {consumer.name for consumer in observer.CONSUMERS}


@pytest.mark.parametrize("experiment", IDS)
def test_the_plan_tells_every_activity(experiment: str) -> None:
    text = plan(experiment)
    assert text.startswith(f"{experiment}: {read(experiment)['title']}\n")
    for activity in activities(experiment):
        assert activity["name"] in text


def test_the_plan_of_the_primary_kill() -> None:
    assert "  1. do: kill the node of the primary\n  2. see: the dead primary's port refuses connections\n" in plan(
        "pg-primary-kill"
    )
    assert "see: another member leads on a higher timeline (within 60 s)" in plan("pg-primary-kill")


def test_an_unknown_experiment_is_refused_with_those_that_there_are() -> None:
    for function in (plan, read, catalog.path_of, toolkit.validate):
        with pytest.raises(UnknownExperiment, match=r"'nonsense'; there are: analytics-kill, audit-logger-kill"):
            function("nonsense")

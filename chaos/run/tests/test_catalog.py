"""The experiments as files: Chaos Toolkit takes each, and the plan says what it does."""

from __future__ import annotations

from typing import Any

import pytest
from chaoslib.exceptions import InvalidActivity

from chaos.faults.data import tables
from chaos.faults.network import gateways, links
from chaos.faults.process import actions, probes
from chaos.faults.region import region as regions
from chaos.run import catalog, toolkit
from chaos.run.catalog import UnknownExperiment, experiments, plan, read
from infra.topology import model as topology
from ledger.observe import consumers
from system import wire
from system.store.valkey import consumer_state, event_feed

IDS = [info.id for info in experiments()]


def activities(experiment: str) -> list[dict[str, Any]]:
    content = read(experiment)
    return [*content["steady-state-hypothesis"]["probes"], *content["method"], *content["rollbacks"]]


def test_the_experiments_are_listed_with_their_titles() -> None:
    assert IDS == [
        "analytics-kill", "audit-logger-kill", "bus-leader-kill", "gateway-cut", "link-cut-one-way", "link-cut",
        "patroni-kill", "pg-primary-kill", "realtime-kill", "region-loss", "relay-kill", "table-drop",
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
def test_every_activity_knows_which_experiment_it_belongs_to(experiment: str) -> None:
    named = [
        activity["provider"]["arguments"] for activity in activities(experiment) if "arguments" in activity["provider"]
    ]
    assert named
    assert {arguments["experiment"] for arguments in named} == {experiment}


@pytest.mark.parametrize("experiment", IDS)
def test_it_proves_its_fault_before_it_undoes_it_and_undoes_it_in_any_case(experiment: str) -> None:
    content = read(experiment)
    functions = [activity["provider"]["func"] for activity in content["method"]]
    undone = functions.index("restart_what_was_killed")
    assert functions[0].startswith(("kill_", "cut_", "drop_"))
    assert undone >= 2
    assert "wait_for_redundancy" in functions[undone:]
    assert [activity["provider"]["func"] for activity in content["rollbacks"]] == ["restart_what_was_killed"]
    assert content["runtime"]["rollbacks"]["strategy"] == "always"


@pytest.mark.parametrize("experiment", IDS)
def test_every_function_is_published_by_its_module(experiment: str) -> None:
    published = {
        "chaos.faults.process.actions": actions.__all__,
        "chaos.faults.process.probes": probes.__all__,
        "chaos.faults.network.gateways": gateways.__all__,
        "chaos.faults.network.links": links.__all__,
        "chaos.faults.region.region": regions.__all__,
        "chaos.faults.data.tables": tables.__all__,
    }
    for activity in activities(experiment):
        provider = activity["provider"]
        assert provider["func"] in published[provider["module"]]


def test_the_bus_experiment_is_about_the_stream_of_project_events() -> None:
    streams = {
        activity["provider"].get("arguments", {}).get("stream") for activity in activities("bus-leader-kill")
    } - {None}
    assert streams == {wire.PROJECTS_STREAM.name}


def test_parts_and_durables_are_called_what_the_system_calls_them() -> None:
    nodes = {node.name for node in topology.load().nodes("core")}
    arguments = [activity["provider"].get("arguments", {}) for name in IDS for activity in activities(name)]
    parts = {known["part"] for known in arguments if "part" in known}
    assert parts == {"analytics-iad", "audit-logger-iad", "frontend-realtime-iad", "postgres-syd", "relay-iad"}
    assert parts <= nodes
    durables = {known["durable"] for known in arguments if "durable" in known}
    regions = topology.load().running_regions("core")
    assert {str(consumers.named(durable, regions)) for durable in durables} == {
        "analytics", "audit-logger", "frontend-realtime in iad",
    }  # fmt: skip


def test_the_consumers_are_the_topologys_and_run_once_a_region_where_it_says_so() -> None:
    where = topology.load()
    own = {"api", "relay", "etcd", "postgres", "nats", "mirror", "gateway", "valkey", "s3", "archiver"}
    placed = {(node.kind, node.region) for node in where.nodes("core") if node.kind not in own}
    regions = where.running_regions("core")
    expected = {(one.name, one.region or regions[0]) for one in consumers.consumers(regions)}
    assert placed == expected


def test_the_audit_reads_traces_and_feeds_where_the_regional_consumers_write_them() -> None:
    for name in consumers.PER_REGION:
        keys = consumer_state.keys_of(name)
        consumer = consumers.Consumer(name, "iad")
        assert consumer.positions_key == keys.positions
        assert consumer.trace_key("projects.1") == f"{keys.trace}projects.1"
    assert consumers.TRACE_LENGTH_MAX == consumer_state.TRACE_LENGTH_MAX
    assert consumers.FEED == event_feed.FEED


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

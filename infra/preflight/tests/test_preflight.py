"""What is possible: the prime examples, the arithmetic, and that every claim gets its line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import covenant
from infra.parts import postgres
from infra.preflight import capacity, check
from infra.preflight.distance import commit_wait_ms, quorum_ms
from infra.preflight.faults import BUDGET_S
from infra.preflight.inputs import Inputs, Machine
from infra.preflight.text import length, to_text
from infra.topology import model as topology
from infra.topology.model import Link, Node
from infra.topology.options import Options
from reports.evidence import FaultBound, Possibility, Preflight
from reports.policy.claims import load_claims
from system import wire
from system.store import primary, reader

CLAIMS = load_claims()
SHIPPED = topology.load()
MACHINE = Machine(memory_bytes=16 << 30, disk_bytes=50 << 30, open_files_max=20_000, cores=2.0)


def inputs(
    size: str = "full", machine: Machine = MACHINE, timings: dict[str, Any] | None = None, **options: Any
) -> Inputs:
    chosen = Options(**options)
    return Inputs(
        topology=SHIPPED,
        size=size,
        options=chosen,
        timings={**postgres.timings(chosen), **(timings or {})},
        parameters=postgres.parameters(),
        streams=wire.STREAMS,
        machine=machine,
    )


def found(*arguments: Any, **options: Any) -> Preflight:
    return check(inputs(*arguments, **options), CLAIMS)


def claim(preflight: Preflight, row: str) -> Possibility:
    return next(claim for claim in preflight.claims if claim.row == row)


def fault(preflight: Preflight, name: str) -> FaultBound:
    return next(fault for fault in preflight.faults if fault.id == name)


# The prime examples.


@pytest.mark.parametrize("size", ["core", "full"])
def test_a_stream_stretched_over_three_regions_cannot_acknowledge_in_50_ms(size: str) -> None:
    publish = claim(found(size, bus="stretched"), "bus.publish_p99")
    assert (publish.verdict, publish.best, publish.by_distance) == ("impossible", 68, True)
    assert "stretched over iad, ams, syd" in publish.why


def test_a_write_from_sydney_cannot_answer_in_100_ms() -> None:
    write = claim(found(), "api.write_p99.syd")
    assert (write.verdict, write.best) == ("impossible", 200)
    assert claim(found(), "api.write_p99.ams").verdict == "possible"


def test_patronis_default_start_timeout_breaks_the_rto() -> None:
    sound, unsound = found(), found(timings={"primary_start_timeout": 300})
    assert claim(sound, "recovery.rto").verdict == "depends"
    rto = claim(unsound, "recovery.rto")
    assert (rto.verdict, rto.best) == ("impossible", 300)
    assert "primary_start_timeout 300" in rto.why
    # Patroni's own formula: loop_wait + primary_start_timeout + loop_wait, or just loop_wait.
    assert fault(unsound, "primary-process").rto_max_s == 2 + 300 + 2 + 2 + 5
    assert fault(sound, "primary-process").rto_max_s == 2 + 2 + 5


# Distances.


def test_a_regional_bus_is_near_in_its_region_alone() -> None:
    publish = claim(found(), "bus.publish_p99")
    assert (publish.verdict, publish.best) == ("depends", 0)
    assert "out of reach in sfo 62 ms, ams 68 ms" in publish.why


def test_what_comes_to_every_region_is_as_far_as_the_worst_of_them() -> None:
    realtime = claim(found(), "realtime.p99")
    assert (realtime.verdict, realtime.best, realtime.by_distance) == ("impossible", 112.5, True)
    assert "at least 112.5 ms in jnb" in realtime.why
    assert claim(found("core"), "realtime.p99").best == 100


def test_lag_is_half_a_round_trip() -> None:
    preflight = found()
    assert {row: claim(preflight, f"recovery.lag.{row}").best for row in ("iad", "ams", "syd", "jnb")} == {
        "iad": 0, "ams": 34, "syd": 100, "jnb": 112.5,
    }  # fmt: skip
    assert claim(preflight, "recovery.lag.syd").verdict == "impossible"  # Not below 100 ms.
    assert claim(preflight, "recovery.lag.sfo").verdict == "possible"


def test_a_region_outside_the_size_is_said_to_be() -> None:
    assert claim(found("core"), "api.write_p99.jnb").why == "jnb is not part of size core"


def test_any_1_waits_for_the_nearest_member_wherever_it_is() -> None:
    apart = dataclasses.replace(
        SHIPPED, sizes={("full", "regional"): tuple(n for n in SHIPPED.nodes("full") if n.name != "postgres-iad-b")}
    )
    alone = dataclasses.replace(inputs(durability="any-1"), topology=apart)
    assert commit_wait_ms(alone, "any-1") == 62
    assert commit_wait_ms(inputs(), "any-1") == 0
    assert commit_wait_ms(alone, "async") == 0


RTTS = st.lists(st.integers(1, 400), min_size=15, max_size=15)


@settings(max_examples=40, deadline=None)
@given(rtts=RTTS)
def test_no_floor_is_below_what_the_way_takes(rtts: list[int]) -> None:
    links = {
        pair: Link(rtt_ms=rtt, floor_ms=0, source="") for pair, rtt in zip(SHIPPED.links, rtts, strict=True)
    }  # fmt: skip
    given_ = dataclasses.replace(inputs(), topology=dataclasses.replace(SHIPPED, links=links))
    preflight = check(given_, CLAIMS)
    for floor in preflight.regions:
        way_ms = given_.rtt_ms("iad", floor.region)
        assert floor.write_ms["async"] == floor.write_ms["standby"] == way_ms <= min(floor.write_ms.values())
        assert floor.publish_ms["regional"] == way_ms
        assert floor.delivery_ms["regional"] == floor.lag_ms == way_ms / 2
        assert floor.publish_ms["stretched"] >= min(
            quorum_ms(given_, n, "stretched") for n in given_.nodes("nats", "stretched")
        )
    for row in preflight.claims:
        bound = next(one.bound for one in CLAIMS if one.row == row.row)
        if row.best is not None:
            assert (row.verdict == "impossible") <= (not bound.met_by(row.best))
            assert bound.met_by(row.best) or row.verdict == "impossible"


# Faults.


def test_without_a_supervisor_the_lease_has_to_run_out() -> None:
    alone = fault(found(supervisor="off"), "primary-node-alone")
    assert (alone.rto_min_s, alone.rto_max_s, alone.applies) == (18, 29, True)
    assert alone.experiments == ["pg-primary-kill"]
    with_one = fault(found(), "primary-node")
    assert (with_one.rto_min_s, with_one.rto_max_s, with_one.experiments) == (0, 7, ["pg-primary-kill"])
    assert not fault(found(), "primary-node-alone").applies
    assert with_one.budget_share == pytest.approx(7 / BUDGET_S)


def test_timings_that_allow_two_primaries_are_named() -> None:
    assert found().notes == []
    (note,) = found(timings={"retry_timeout": 10}).notes
    assert "loop_wait 2 + 2 x retry_timeout 10 = 22 s is over ttl 20" in note


def test_only_a_commit_that_no_other_member_has_can_be_lost_with_a_node() -> None:
    assert fault(found(), "primary-node").lost == "nothing"
    assert fault(found(durability="any-1"), "primary-node").lost == "nothing"
    assert fault(found(durability="async"), "primary-node").lost == "up to 1,048,576 bytes of WAL"
    assert claim(found(), "recovery.rpo_loss").verdict == "depends"


def test_the_loss_of_the_primary_region_takes_what_was_on_its_way() -> None:
    region = fault(found(), "region")
    assert region.rto_max_s is None
    assert "31 ms" in region.lost
    assert fault(found(durability="async"), "region").rto_max_s == 29


def test_power_loss_of_every_broker_takes_what_was_not_synced() -> None:
    assert [loss.lost for loss in found().power] == ["nothing"] * 4
    lost = {loss.what: loss.lost for loss in found(sync_interval="2m").power}
    assert lost["every broker"] == "up to 120 s of acknowledged messages"
    assert lost["every PostgreSQL node"] == "nothing"


# Amounts.


def test_a_million_messages_are_ten_seconds_at_the_seeds_rate() -> None:
    covers = {(cover.stream, cover.rate_per_s): cover for cover in found().streams}
    assert covers["COVENANT_PROJECTS", 100_000].covers_s == 10
    assert covers["ALERTS_INCIDENTS", 10].limited_by == "messages"
    slow = capacity.RATES_PER_S[0]
    assert covers["COVENANT_PROJECTS", slow].covers_s == min(1_000_000 / slow, 30 * 86_400)


def test_majorities_and_the_regions_whose_loss_ends_them() -> None:
    for size, second in (("core", "syd"), ("full", "sfo")):
        quorums = {quorum.what: quorum for quorum in found(size).quorums}
        etcd = quorums["etcd (the primary's lease)"]
        assert (etcd.members, etcd.needs, etcd.may_lose, etcd.ends_with) == (3, 2, 1, [])
        assert second in [node.region for node in SHIPPED.nodes(size) if node.kind == "etcd"]
        assert quorums["streams, bus regional (of 3 copies)"].ends_with == ["iad"]
        assert quorums["streams, bus stretched (of 3 copies)"].ends_with == []


def test_an_automatic_promotion_with_any_1_bears_no_second_loss() -> None:
    promotion = found(durability="any-1").quorums[-1]
    assert (promotion.members, promotion.needs, promotion.may_lose) == (6, 6, 0)
    assert "iad" in promotion.ends_with


def test_connections_are_those_that_the_system_opens() -> None:
    assert (primary._CONNECTIONS, reader._CONNECTIONS) == (capacity.API_WRITES, capacity.API_READS)


def test_a_machine_that_is_too_small_is_said_to_be() -> None:
    small = Machine(memory_bytes=1 << 30, disk_bytes=1 << 30, open_files_max=1_024, cores=1.0)
    needs = {need.what: need for need in found("full", small).resources}
    assert not needs["memory"].enough
    assert not needs["disk"].enough
    assert not needs["processors"].enough
    assert claim(found("full", small), "bus.connections").best == 3 * 1_024
    large = dataclasses.replace(MACHINE, open_files_max=1 << 20)
    assert claim(found("full", large), "bus.connections").verdict == "possible"


def test_a_choice_that_takes_a_claim_away_makes_it_impossible() -> None:
    assert claim(found(tls="off"), "security.transit").verdict == "impossible"
    assert claim(found(encryption="off"), "security.rest").verdict == "impossible"
    assert claim(found(), "security.transit").verdict != "impossible"


# All of it.


def test_every_claim_has_its_line() -> None:
    preflight = found()
    assert [row.row for row in preflight.claims] == [row.row for row in CLAIMS]
    assert all(row.why and row.why != "nothing is known of it beforehand" for row in preflight.claims)


@pytest.mark.parametrize("size", ["core", "full"])
@pytest.mark.parametrize("durability", ["async", "standby", "any-1"])
@pytest.mark.parametrize("supervisor", ["on", "off"])
def test_every_choice_is_printed(size: str, durability: str, supervisor: str) -> None:
    text = to_text(found(size, durability=durability, supervisor=supervisor))
    assert "the primary is cut off from everyone, and lives" in text
    assert "None" not in text
    assert "nan" not in text


def test_standbys_take_no_part() -> None:
    assert Node("relay", "ams", standby=True) in SHIPPED.nodes("full")
    assert [node.name for node in inputs().nodes("relay")] == ["relay-iad"]


def test_lengths_are_printed_in_their_largest_unit() -> None:
    assert [length(seconds) for seconds in (0.1, 10, 500, 5_000, 86_400 * 30)] == [
        "0.1 s", "10 s", "8.33 min", "1.39 h", "30 d",
    ]  # fmt: skip


def test_the_command_answers_programs() -> None:
    answer = CliRunner().invoke(covenant.main, ["preflight", "--bus", "stretched", "--json"])
    assert answer.exit_code == 0
    publish = next(row for row in json.loads(answer.stdout)["claims"] if row["row"] == "bus.publish_p99")
    assert publish["verdict"] == "impossible"


def test_the_command_refuses_a_wrong_topology_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "mine.toml"
    text = SHIPPED.content.decode()
    wrong.write_text(text.replace("ms = 200,", "ms = 100,"))
    monkeypatch.setenv(topology.VARIABLE, str(wrong))
    answer = CliRunner().invoke(covenant.main, ["preflight"])
    line = text[: text.index("ms = 200,")].count("\n") + 1
    assert answer.exit_code == 2
    assert f"mine.toml:{line}: rtt_ms.iad-syd: 100 ms is less than light takes: from Ashburn to Sydney" in answer.stderr

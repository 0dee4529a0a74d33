"""What a commit waits for, and which member is promoted: as configuration, and on small real clusters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.machine.waiting import until
from infra.parts import postgres
from infra.parts.postgres.cluster import lacking
from infra.parts.postgres.configuration import configuration
from infra.tests.small_cluster import lay_out, running
from infra.topology.options import Options

MEMBERS = {
    "a": {"role": "leader", "state": "running"},
    "b": {"role": "sync_standby", "state": "streaming"},
    "c": {"role": "replica", "state": "streaming"},
}
QUORUM = {**MEMBERS, "b": {"role": "quorum_standby", "state": "streaming"}}

FULL = ["etcd-iad", "postgres-iad-a", "postgres-iad-b", "postgres-ams", "postgres-syd"]


def configurations(home: Path, options: Options) -> dict[str, dict[str, Any]]:
    place = lay_out(home, FULL, options).place
    return {node.name: configuration(place, node, "/bin") for node in place.nodes("postgres")}


def test_only_the_primarys_region_has_a_synchronous_standby_by_default(tmp_path: Path) -> None:
    members = configurations(tmp_path / "home", Options())
    assert {name: member["tags"]["nosync"] for name, member in members.items()} == {
        "postgres-iad-a": False, "postgres-iad-b": False, "postgres-ams": True, "postgres-syd": True,
    }  # fmt: skip
    assert members["postgres-ams"]["bootstrap"]["dcs"]["synchronous_mode"] is True


def test_any_one_member_may_confirm_across_regions(tmp_path: Path) -> None:
    members = configurations(tmp_path / "home", Options(durability="any-1"))
    assert not any(member["tags"]["nosync"] for member in members.values())
    assert members["postgres-syd"]["bootstrap"]["dcs"]["synchronous_mode"] == "quorum"
    assert members["postgres-syd"]["bootstrap"]["dcs"]["synchronous_node_count"] == 1


def test_without_a_synchronous_standby_a_commit_waits_for_no_member(tmp_path: Path) -> None:
    members = configurations(tmp_path / "home", Options(durability="async"))
    assert all(member["bootstrap"]["dcs"]["synchronous_mode"] is False for member in members.values())


def test_members_are_promoted_in_the_topologys_order(tmp_path: Path) -> None:
    members = configurations(tmp_path / "home", Options(durability="async"))
    ranks = [member["tags"]["failover_priority"] for member in members.values()]
    assert ranks == sorted(ranks, reverse=True)
    assert min(ranks) > 0, "at 0 Patroni never promotes a member"


@pytest.mark.parametrize("durability", ["async", "standby", "any-1"])
def test_patroni_s_rule_of_its_timings_holds(durability: Any) -> None:
    timings = postgres.timings(Options(durability=durability))
    assert timings["loop_wait"] + 2 * timings["retry_timeout"] <= timings["ttl"]


@pytest.mark.parametrize(
    ("members", "durability", "missing"),
    [
        ({}, "async", "a primary"),
        (MEMBERS, "standby", None),
        ({**MEMBERS, "b": {"role": "replica", "state": "streaming"}}, "standby", "a synchronous standby"),
        ({**MEMBERS, "c": {"role": "replica", "state": "in archive recovery"}}, "async", "replicas to stream: c"),
        ({name: MEMBERS[name] for name in "ab"}, "async", "replicas to stream: c"),
        (QUORUM, "any-1", "replicas to confirm commits: c"),
        ({**QUORUM, "c": QUORUM["b"]}, "any-1", None),
    ],
)
def test_what_a_cluster_lacks(members: dict[str, dict[str, str]], durability: str, missing: str | None) -> None:
    assert lacking(members, "abc", durability) == missing


@pytest.mark.timeout(240)
def test_after_the_loss_of_a_region_a_member_is_promoted_only_on_request(tmp_path: Path) -> None:
    names = ["etcd-ams", "postgres-iad-a", "postgres-iad-b", "postgres-ams"]
    with running(tmp_path / "standby", names, Options()) as system:
        place = system.place
        roles = {name: member["role"] for name, member in postgres.cluster(place).items()}
        assert roles == {"postgres-iad-a": "leader", "postgres-iad-b": "sync_standby", "postgres-ams": "replica"}
        for lost in ("postgres-iad-b", "postgres-iad-a"):
            system.kill(lost)
        ams = system.parts["postgres-ams"].node
        assert postgres.primary(place) is None

        postgres.promote(place, ams)

        assert postgres.primary(place) == ams
        owner = postgres.dsn(place, "covenant_owner", place.site.secrets["owner"])
        with psycopg.connect(owner, autocommit=True) as link:
            link.execute("create table after_the_loss (id int)")


def waited_for(link: psycopg.Connection[Any]) -> set[str]:
    """The members of which any one may confirm a commit."""
    row = link.execute("show synchronous_standby_names").fetchone()
    assert row is not None
    listed = re.fullmatch(r"ANY 1 \((.*)\)", row[0])
    assert listed, row[0]
    return set(listed[1].replace('"', "").split(","))


@pytest.mark.timeout(240)
def test_a_commit_waits_for_any_member_and_a_dead_member_is_not_promoted(tmp_path: Path) -> None:
    names = ["etcd-iad", "postgres-iad-a", "postgres-ams", "postgres-syd"]
    with running(tmp_path / "any", names, Options(durability="any-1", tls="off")) as system:
        place = system.place
        url = postgres.dsn(place, "postgres", place.site.secrets["postgres"], database="postgres")
        with psycopg.connect(url, autocommit=True) as link:
            # Patroni lists a member as able to confirm shortly before PostgreSQL has its name.
            assert until(lambda: waited_for(link) == {"postgres-ams", "postgres-syd"} or None, 30), waited_for(link)
        system.kill("postgres-syd")
        with pytest.raises(postgres.NotPromoted, match="postgres-syd to be the primary within 1 s"):
            postgres.promote(place, system.parts["postgres-syd"].node, within_s=1)

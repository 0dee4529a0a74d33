"""A write goes through a running system: outbox, stream, roll-ups, caches; each effect happens once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
import redis

from infra.site import clients
from infra.target import Target
from system import wire
from system.data.countries import countries
from system.data.projects import projects
from system.domain.partitions import partition_of
from system.store.valkey.totals_cache import POSITIONS
from system.tests.servers import wait_until

pytestmark = pytest.mark.running


@pytest.fixture
def observer(target: Target) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(target.observer_dsn, autocommit=True) as connection:
        yield connection


def create(target: Target, region: str, **fields: object) -> str:
    project = {
        "id": str(uuid.uuid4()), "name": "Effect", "region": "syd", "country_code": "AUS", "sector": "Health",
        "status": "Pending", "funding_usd_millions": 1.25, **fields,
    }  # fmt: skip
    answer = httpx.post(f"{target.api[region]}{wire.PROJECTS}", json=project, headers=_signed_in(target), timeout=10)
    assert answer.status_code == 201, answer.text
    return str(project["id"])


def _signed_in(target: Target) -> dict[str, str]:
    return {"authorization": f"Bearer {clients.token(target, 'admin', None)}"}


def test_a_write_from_each_region_takes_effect_once_everywhere(
    target: Target, observer: psycopg.Connection[Any]
) -> None:
    for region in target.regions:
        identity = create(target, region)
        place = f"select partition, position from outbox_events where aggregate_id = '{identity}' and position > 0"
        wait_until(lambda place=place: observer.execute(place).rowcount == 1, "the event has a position")  # type: ignore[misc]
        partition, position = observer.execute(place).fetchone() or ("", 0)
        assert partition == partition_of("projects", identity)
        wait_until(lambda at=(partition, position): _effects(observer, *at) == 1, "analytics applied it once")  # type: ignore[misc]
        for reader in target.regions:
            _expect_in_cache_and_totals(target, reader, partition, position)
        assert _effects(observer, partition, position) == 1


def _effects(observer: psycopg.Connection[Any], partition: str, position: int) -> int:
    query = """select count(*) from consumer_applied
        where consumer = 'analytics' and partition = %s and %s between first and last"""
    return int((observer.execute(query, (partition, position)).fetchone() or (0,))[0])


def _expect_in_cache_and_totals(target: Target, region: str, partition: str, position: int) -> None:
    with redis.Redis.from_url(target.valkey[region]) as valkey:
        wait_until(
            lambda: int(valkey.hget(POSITIONS, partition) or 0) >= position,
            f"the cache of {region} was invalidated",
        )
    totals = f"{target.api[region]}{wire.REGIONS}/syd"
    headers = _signed_in(target)
    wait_until(
        lambda: httpx.get(totals, headers=headers, timeout=10).json()["as_of"][partition] >= position,
        f"{region} shows totals as of the write",
    )


def test_totals_reconcile_with_the_tables(observer: psycopg.Connection[Any], target: Target) -> None:
    create(target, target.regions[0], funding_usd_millions=3.33)
    # One statement reads one snapshot; while analytics lags the two may differ.
    query = """select
        (select sum(next_position - 1) from relay_partition) - (select sum(position) from consumer_position
            where consumer = 'analytics') + (select count(*) from outbox_queue) as behind,
        (select count(*) from (select region, sector, status, count(*) as projects,
                sum(funding_usd_millions) as funding_usd_millions from projects group by 1, 2, 3) p
            full join (select * from rollup where projects <> 0) r using (region, sector, status)
            where (p.projects, p.funding_usd_millions) is distinct from (r.projects, r.funding_usd_millions)),
        (select count(*) from (select region, count(*) as countries,
                sum(contribution_usd_millions) as contribution_usd_millions from countries group by 1) c
            full join country_rollup r using (region) where (c.countries, c.contribution_usd_millions)
                is distinct from (r.countries, r.contribution_usd_millions))"""
    caught_up: list[tuple[int, int]] = []

    def compare() -> bool:
        behind, of_projects, of_countries = observer.execute(query).fetchone() or (1, 0, 0)
        if behind == 0:
            caught_up.append((of_projects, of_countries))
        return behind == 0

    wait_until(compare, "analytics has caught up")
    assert caught_up == [(0, 0)]


def test_the_trace_of_analytics_has_no_hole_and_no_overlap(observer: psycopg.Connection[Any]) -> None:
    query = """select count(*) from (select first, lag(last, 1, 0::bigint) over (partition by partition
        order by first, last) as before from consumer_applied where consumer = 'analytics') t
        where first <> before + 1"""
    assert (observer.execute(query).fetchone() or (1,))[0] == 0


def test_the_database_and_the_domain_agree_on_partitions(observer: psycopg.Connection[Any]) -> None:
    ids = [("countries", one.id) for one in countries()] + [("projects", one.id) for one in projects(countries())]
    for aggregate, identity in ids:
        placed = observer.execute("select outbox_partition(%s, %s)", (aggregate, identity)).fetchone()
        assert placed == (partition_of(aggregate, identity),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statement",
    ["delete from projects", "insert into outbox (aggregate) values ('x')", "create table observed (x int)"],
)
def test_an_observer_changes_nothing(observer: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        observer.execute(statement)
    # The read-only default can be changed by a session; its privileges cannot.
    observer.execute("set default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        observer.execute(statement)

"""What consumers leave is what the ledger reads, as an observer: positions, traces, the live feed."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time

import msgspec
import psycopg
import pytest
import redis

from infra.target import Login, Target
from ledger.observe.consumers import CutOff, feed, traces
from ledger.observe.positions import RELAY, PositionWatch, positions_of
from system.events.consumers.analytics import Analytics
from system.events.consuming.tests.test_valkey import Feed, batch
from system.settings import Settings
from system.tests.servers import PASSWORD
from system.wire import PROJECTS_STREAM, observer
from system.wire.observer import ConsumerInstance

ANALYTICS = ConsumerInstance("analytics")
REALTIME = ConsumerInstance("frontend-realtime", "ams")
PARTITIONS = ["projects.0", "projects.1"]
DEADLINE_S = 60.0


@pytest.fixture
def target(database: Settings, valkey_server: subprocess.Popen[bytes]) -> Target:
    host, _, port = database.replica.partition(":")
    cache = f"redis://:{database.valkey_password}@{database.valkey}/0"
    with redis.Redis.from_url(cache) as client:
        client.flushall()
    login = Login(user="", password="")
    return Target(
        run_id="test", regions=["ams"], api={}, web={}, clients={}, nats=[], nats_load=login, nats_observer=login,
        observer_dsn=f"postgresql://covenant_observer@{host}:{port}/{database.database}", replica_dsn={},
        valkey={"ams": cache}, stream_replicas=1, durability="", security="",
    )  # fmt: skip


def apply(settings: Settings, kind: type[Analytics] | type[Feed], *positions: int) -> None:
    async def run() -> None:
        effect = kind(settings, PROJECTS_STREAM)
        try:
            await effect.apply(batch(*positions))
        finally:
            await effect.close()

    asyncio.run(run())


@pytest.mark.parametrize(("kind", "instance"), [(Analytics, ANALYTICS), (Feed, REALTIME)])
def test_positions_and_traces_are_those_of_what_was_applied(
    kind: type[Analytics] | type[Feed], instance: ConsumerInstance, target: Target, database: Settings
) -> None:
    apply(database, kind, 1, 2, 3)
    apply(database, kind, 4)
    assert asyncio.run(positions_of(target, instance))["projects.0"] == 4
    found = traces(target, instance, PARTITIONS, 1, 0.0)
    assert found == {"projects.0": [(1, 3), (4, 4)], "projects.1": []}


def test_a_live_feed_tells_its_first_position_and_those_that_it_holds(target: Target, database: Settings) -> None:
    apply(database, Feed, 1, 2, 3)
    first, held = feed(target, "ams", "projects.0", 2)
    assert (first, {position: msgspec.json.decode(event)["position"] for position, event in held.items()}) == (
        1,
        {2: 2, 3: 3},
    )
    assert feed(target, "ams", "projects.1", 7) == (7, {})


def test_a_trace_that_is_younger_or_full_proves_nothing(
    target: Target, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(database, Feed, 1)
    with pytest.raises(CutOff, match="its trace is lost"):
        traces(target, REALTIME, PARTITIONS, 1, ran_s=1e9)
    monkeypatch.setattr(observer, "TRACE_LENGTH_MAX", 1)
    with pytest.raises(CutOff, match="holds no more than 1 ranges"):
        traces(target, REALTIME, PARTITIONS, 1, 0.0)


def test_a_watch_keeps_how_positions_went_up_by_the_servers_clocks(target: Target, database: Settings) -> None:
    began_ns = time.time_ns()
    with psycopg.connect(target.observer_dsn.replace("observer", "owner"), autocommit=True) as link:
        link.execute("update relay_partition set confirmed_position = 5 where partition = 'projects.1'")

    async def run() -> PositionWatch:
        async with PositionWatch(target, PARTITIONS) as watch, asyncio.timeout(DEADLINE_S):
            await asyncio.to_thread(apply, database, Analytics, 1, 2)
            await asyncio.to_thread(apply, database, Feed, 1)
            while not (watch.positions(ANALYTICS)["projects.0"] and watch.positions(REALTIME)["projects.0"]):
                await asyncio.sleep(0)
        return watch

    watch = asyncio.run(run())
    assert watch.problems == []
    assert watch.positions(ANALYTICS) == {"projects.0": 2, "projects.1": 0}
    assert watch.positions(REALTIME) == {"projects.0": 1, "projects.1": 0}
    assert watch.positions(RELAY) == {"projects.0": 0, "projects.1": 5}
    for instance in (ANALYTICS, REALTIME):
        reached_ns, _ = list(watch.history[instance]["projects.0"])[-1]
        assert began_ns < reached_ns < time.time_ns()


def test_a_watch_says_what_did_not_answer_and_goes_on(target: Target) -> None:
    shut_out = msgspec.structs.replace(target, valkey={"ams": target.valkey["ams"].replace(PASSWORD, "wrong")})

    async def run() -> PositionWatch:
        async with PositionWatch(shut_out, PARTITIONS) as watch, asyncio.timeout(DEADLINE_S):
            while not any(re.match(r"Valkey in ams: .+ \(2 times\)", problem) for problem in watch.problems):
                await asyncio.sleep(0)
        return watch

    assert asyncio.run(run()).positions(REALTIME) == {"projects.0": 0, "projects.1": 0}

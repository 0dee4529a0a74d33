"""The loss of the active region and its return, on the few real parts that it concerns: writes go on in ams, and every
event before and after the loss takes effect once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.operations import promotion
from infra.operations.promotion import NotTakenOver
from infra.parts import mirror, nats, postgres
from infra.site import bus_layout, certificates
from infra.tests.small_cluster import lay_out
from infra.topology.model import Node
from infra.topology.options import Options

BUS = {
    "regional": ["nats-iad-a", "nats-iad-b", "nats-iad-c", "mirror-ams"],
    "stretched": ["nats-iad", "nats-ams", "nats-syd"],
}
STORES = ["etcd-syd", "valkey-iad", "valkey-ams", "postgres-iad-a", "postgres-ams"]
WORKERS = ["relay-iad", "analytics-iad", "relay-ams", "analytics-ams"]
DEADLINE_S = 90.0
INSERT = """insert into projects (id, name, region, country_code, sector, status, funding_usd_millions)
    select gen_random_uuid(), 'P', 'ams', 'FRA', 'Energy', 'Active', 1.50 from generate_series(1, %s)"""
BEHIND = """select count(*) from outbox_events o left join consumer_position c
    on c.partition = o.partition and c.consumer = 'analytics' and c.position >= o.position where c.partition is null"""
OVERLAPS = """select count(*) from consumer_applied a join consumer_applied b using (consumer, partition)
    where a.ctid < b.ctid and a.first <= b.last and b.first <= a.last"""


@pytest.fixture(params=list(BUS))
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    options = Options(bus=request.param, durability="async", encryption="off")
    plain = lay_out(tmp_path / "home", [*BUS[request.param], *STORES, *WORKERS], options)
    nodes = tuple(Node(one.kind, one.site, one.name in WORKERS[2:]) for one in plain.place.all_nodes())
    sizes = {**plain.place.topology.sizes, **{(plain.site.size, layout): nodes for layout in BUS}}
    started = System(plain.site, dataclasses.replace(plain.place.topology, sizes=sizes))
    try:
        start(started)
        yield started
    finally:
        started.stop()


def start(system: System) -> None:
    certificates.issue(system.place)
    system.site.users_file.write_text("[]")
    for part in system.parts.values():
        part.folder.mkdir(exist_ok=True)
        part.prepare()
    stores = [*BUS[system.site.options.bus], *STORES]
    for name in stores:
        system.start_part(name)
        if name in ("etcd-syd", "postgres-iad-a"):
            system.wait_ready([system.parts[name]], time.monotonic() + DEADLINE_S)
        if name == "postgres-iad-a":
            assert until(lambda: postgres.primary(system.place), DEADLINE_S), "no primary"
            postgres.create_roles(system.place)
    system.wait_ready([system.parts[name] for name in stores], time.monotonic() + DEADLINE_S)
    system.run_once("system.store.migrate", role="owner")
    system.run_once("system.events.streams", role="app")
    if bus_layout.mirrored(system.place):
        system.make_mirrors(["ams"])
    for name in WORKERS[:2]:
        system.start_part(name)
    is_whole(system)


def is_whole(system: System) -> None:
    assert until(lambda: not system.missing() or None, DEADLINE_S), system.missing()


def ask(system: System, query: str) -> int:
    secret = system.site.secrets["observer"]
    with psycopg.connect(postgres.dsn(system.place, "covenant_observer", secret), autocommit=True) as link:
        row = link.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def write(system: System, count: int) -> None:
    secret = system.site.secrets["app"]
    with psycopg.connect(postgres.dsn(system.place, "covenant_app", secret), autocommit=True) as link:
        link.execute(INSERT, [count])


def all_took_effect_once(system: System, count: int) -> None:
    assert until(lambda: ask(system, BEHIND) == 0 or None, DEADLINE_S), f"{ask(system, BEHIND)} events are not applied"
    assert ask(system, "select count(*) from outbox where aggregate = 'projects'") == count
    assert ask(system, OVERLAPS) == 0


def copies(system: System) -> int:
    """How many of iad's servers hold its mirror of the projects' stream."""
    nodes = bus_layout.of_region(system.place, "iad")
    pages = [nats.monitor(system.place, node, "/jsz?streams=true") or {} for node in nodes]
    streams = [stream for page in pages for account in page["account_details"] for stream in account["stream_detail"]]
    return sum(stream["name"] == "COVENANT_PROJECTS" for stream in streams)


def test_ams_takes_over_iad_follows_and_takes_over_again(system: System) -> None:
    place = system.place
    write(system, 200)
    all_took_effect_once(system, 200)
    assert until(lambda: mirror.missing(place) is None or None, DEADLINE_S), mirror.missing(place)

    lost = [name for name, part in system.parts.items() if part.node.region == "iad"]
    for name in lost:
        system.kill(name)
    with pytest.raises(NotTakenOver, match=r"can take over \(ams, iad\), found syd"):
        promotion.take_over(system, "syd")
    promotion.take_over(system, "ams")
    write(system, 100)
    all_took_effect_once(system, 300)
    if bus_layout.mirrored(place):
        with pytest.raises(NotTakenOver, match="bring iad back first"):
            promotion.take_over(system, "iad")

    # The old relay is back by itself, as after a cut: it must stand by.
    system.start_part("relay-iad")
    promotion.bring_back(system, "iad")
    is_whole(system)
    assert not system.alive("relay-iad")
    write(system, 50)
    if bus_layout.mirrored(place):
        assert copies(system) == 3
    promotion.take_over(system, "iad")
    write(system, 50)
    all_took_effect_once(system, 400)
    is_whole(system)
    assert bus_layout.active_region(place) == "iad"
    assert nats.stream_states(place)["COVENANT_PROJECTS"]["leader"].startswith("nats-")

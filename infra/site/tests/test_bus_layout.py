"""Which region is active, and which nodes are the bus: on the shipped topology, without starting anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.fabric.process.system import System
from infra.parts import leafs, mirror
from infra.site import bus_layout, bus_users
from infra.site.site import Place
from infra.topology.model import Node
from infra.topology.options import Options


@pytest.fixture(params=["regional", "stretched"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path, layout: str) -> Iterator[Place]:
    options = Options(bus=layout, distance="off")  # type: ignore[arg-type]
    system = System.create(tmp_path / "home", run_id="test", size="full", plant={}, options=options)
    try:
        for part in system.parts.values():
            part.folder.mkdir()
        yield system.place
    finally:
        system.stop()


def names(nodes: list[Node]) -> list[str]:
    return [node.name for node in nodes]


def test_the_bus_is_where_the_layout_puts_it_and_clients_find_it(place: Place, layout: str) -> None:
    assert bus_layout.active_region(place) == "iad"
    found = bus_layout.urls(place, "syd")
    assert found[0].endswith(place.endpoint(bus_layout.bus(place)[2 if layout == "stretched" else 0], "client"))
    if layout == "regional":
        assert names(bus_layout.bus(place)) == ["nats-iad-a", "nats-iad-b", "nats-iad-c"]
        assert found[3:] == [f"nats://{place.endpoint(bus_layout.of_region(place, 'ams')[0], 'client')}"]
    else:
        assert names(bus_layout.bus(place)) == ["nats-iad", "nats-ams", "nats-syd"]
        assert len(found) == 3
        assert bus_layout.followers(place) == {}


def test_when_ams_is_active_the_parts_that_run_once_run_there(place: Place, layout: str) -> None:
    def working() -> set[str]:
        return {node.name for node in place.all_nodes() if bus_layout.works(place, node)}

    before = working()
    bus_layout.activate(place, "ams")
    kinds = ("relay", "analytics", "audit-logger", "notifications")
    assert before - working() == {f"{kind}-iad" for kind in kinds}
    assert working() - before == {f"{kind}-ams" for kind in kinds}
    if layout == "regional":
        assert names(bus_layout.bus(place)) == ["mirror-ams"]
        assert list(bus_layout.followers(place)) == ["iad", "syd", "sin", "sfo", "jnb"]
        assert mirror.settings(place, ["iad"])["mirrors"].count("nats://") == 3
        assert len(bus_layout.urls(place)) == 4


@pytest.mark.parametrize("layout", ["regional"], indirect=True)
def test_users_and_what_is_followed_change_with_the_active_region(place: Place) -> None:
    iad, ams = bus_layout.of_region(place, "iad")[0], bus_layout.of_region(place, "ams")[0]
    admin = leafs.login(place.site, bus_users.STREAMS_ADMIN, bus_users.users()[bus_users.STREAMS_ADMIN])
    plain = {"jetstream": {}, "authorization": {"users": [admin]}}
    for active, serving, following in (("iad", iad, ams), ("ams", ams, iad)):
        bus_layout.activate(place, active)
        serves, follows = leafs.joined(place, serving, plain, None), leafs.joined(place, following, plain, None)
        users = {user["user"] for user in serves["authorization"]["users"]}
        assert {"relay", "api", bus_users.mirror_user(following.region)} <= users
        assert bus_users.mirror_user(active) not in users
        assert [user["user"] for user in follows["authorization"]["users"]] == [bus_users.STREAMS_ADMIN]
        assert "remotes" not in serves["leafnodes"]
        [remote] = follows["leafnodes"]["remotes"]
        assert remote["urls"][0].endswith(place.endpoint(serving, "leaf"))
        assert serves["jetstream"]["domain"] == active


@pytest.mark.parametrize("layout", ["regional"], indirect=True)
def test_what_followed_another_bus_is_wiped_and_what_becomes_the_bus_is_kept(place: Place) -> None:
    nodes = [bus_layout.of_region(place, region)[0] for region in ("iad", "ams", "syd")]
    stores = [place.site.folder(node) / "store" for node in nodes]

    def start() -> list[bool]:
        for node, store in zip(nodes, stores, strict=True):
            leafs.forget_stale(place, node)
            store.mkdir(exist_ok=True)
            (store / "kept").touch()
        return [leafs.followed(place, node) == bus_layout.active_region(place) for node in nodes]

    assert start() == [True] * 3
    for active, kept in (("iad", [True, True, True]), ("ams", [False, True, False]), ("iad", [True, False, False])):
        bus_layout.activate(place, active)
        for node in nodes:
            leafs.forget_stale(place, node)
        assert [(store / "kept").exists() for store in stores] == kept
        start()

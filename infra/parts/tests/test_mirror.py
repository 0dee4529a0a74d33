"""A region's mirror of the bus, on real servers with their real users and certificates: it follows and admits no
client. It becomes the bus when iad is lost, and iad follows it when it comes back. Also a pair of gateways."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from nats.aio.client import Client
from nats.errors import Error, NoServersError

from checks.security import stores
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.operations import promotion
from infra.parts import gateway, mirror, nats
from infra.site import bus_layout, bus_users, certificates
from infra.tests import loops
from infra.tests.small_cluster import running
from infra.topology.model import Node
from infra.topology.options import Options
from system import wire
from system.events import bus, mirrors, promote, streams
from system.events.cursors import first_lacking
from system.events.publish import publish
from system.events.tests.test_streams_nats import event
from system.process import DependencyState
from system.settings import Settings

NODES = ["nats-iad-a", "nats-iad-b", "nats-iad-c", "mirror-ams"]
IAD = NODES[:3]
STREAM = wire.PROJECTS_STREAM
DEADLINE_S = 60.0

T = TypeVar("T")


@pytest.fixture(params=["on", "off"])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    with running(tmp_path / "home", NODES, Options(tls=request.param, encryption=request.param)) as started:
        yield started


def as_user(
    system: System, user: str, nodes: list[Node], work: Callable[[Client], Awaitable[T]], attempts: int = 100
) -> T:
    """Run `work` as a user of the bus, connected to one of these nodes. NoServersError if none takes it."""

    async def run() -> T:
        on = system.site.options.tls == "on"
        client = Client()
        async with asyncio.timeout(DEADLINE_S):
            await client.connect(
                [f"nats://{system.place.outside(node, 'client')}" for node in nodes],
                user=user, password=system.site.secrets[bus_users.secret_name(user)],
                inbox_prefix=wire.inbox_prefix(user), tls=certificates.context(system.site) if on else None,
                tls_handshake_first=on, connect_timeout=2, max_reconnect_attempts=attempts, reconnect_time_wait=1,
                error_cb=ignore,
            )  # fmt: skip
            try:
                return await work(client)
            finally:
                await client.close()

    return loops.run(run())


async def ignore(error: Exception) -> None:
    """An error that matters shows in the call that fails."""


async def until_done(work: Callable[[], Awaitable[Any]]) -> None:
    """Repeat `work` until it succeeds: a cluster that has just started has no leader for some seconds."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await work()
            except (TimeoutError, Error):
                await asyncio.sleep(0.2)
                continue
            return


def make_streams(system: System) -> None:
    async def work(client: Client) -> None:
        js = client.jetstream(timeout=2)
        for stream in wire.STREAMS:
            await until_done(lambda stream=stream: streams.ensure_stream(js, stream, 3))  # type: ignore[misc]
        await until_done(lambda: streams.ensure_dead_letters(js, 3))

    as_user(system, bus_users.STREAMS_ADMIN, bus_layout.bus(system.place), work)


def make_mirrors(system: System, region: str, replicas: int) -> None:
    domain = bus_layout.active_region(system.place)

    async def work(client: Client) -> None:
        js = client.jetstream(timeout=2)
        for config in [streams.stream_config(one, replicas) for one in wire.STREAMS] + [streams.letters_config(1)]:
            wanted = mirrors.mirror_config(config, domain, region, replicas)
            await until_done(lambda wanted=wanted: mirrors.ensure_mirror(js, wanted))  # type: ignore[misc]

    as_user(system, bus_users.STREAMS_ADMIN, bus_layout.of_region(system.place, region), work)


def make_bus(system: System, count: int) -> int:
    """Promote every stream; the sequence at which a consumer begins that lacks the last event."""

    async def work(client: Client) -> int:
        js = client.jetstream(timeout=2)
        for stream in wire.STREAMS:
            config = streams.stream_config(stream, len(bus_layout.bus(system.place)))
            await until_done(lambda config=config: promote.promote_stream(js, config))  # type: ignore[misc]
        await promote.cut_back(js, STREAM, {"projects.0": count})
        return await first_lacking(js, STREAM, {"projects.0": count - 1})

    return as_user(system, bus_users.PROMOTER, bus_layout.bus(system.place), work)


def publish_one(system: System, position: int) -> bool:
    """Publish an event as the relay does; whether it was stored."""

    async def work(client: Client) -> bool:
        return (await publish(client.jetstream(timeout=2), [event(position)], 5)).failure is None

    return as_user(system, "relay", bus_layout.bus(system.place), work)


def follows(system: System, count: int, region: str) -> None:
    """Wait until a region's mirror holds so many messages and lacks none."""

    def whole() -> bool:
        return not mirror.missing(system.place) and held(system, region) == count

    assert until(lambda: whole() or None, DEADLINE_S), (mirror.missing(system.place), held(system, region))
    assert mirror.lags(system.place)[region][STREAM.name] == 0


def held(system: System, region: str) -> int:
    async def work(client: Client) -> int:
        return (await client.jetstream(timeout=2).stream_info(STREAM.name)).state.messages

    return as_user(system, bus_users.STREAMS_ADMIN, bus_layout.of_region(system.place, region), work)


def admit_no_client(system: System, nodes: list[Node]) -> None:
    async def nothing(client: Client) -> None: ...

    for user in ("relay", "api", "analytics", bus_users.OBSERVER):
        with pytest.raises(NoServersError):
            as_user(system, user, nodes, nothing, attempts=1)


def test_the_mirror_becomes_the_bus_and_iad_follows_it_and_takes_over_again(system: System) -> None:
    place = system.place
    make_streams(system)
    make_mirrors(system, "ams", 1)
    assert all(publish_one(system, position) for position in range(1, 11))
    follows(system, 10, "ams")
    admit_no_client(system, bus_layout.of_region(place, "ams"))

    for name in IAD:
        system.kill(name)
    bus_layout.activate(place, "ams")
    promotion._restart(system, bus_layout.of_region(place, "ams"))
    assert make_bus(system, 10) == 10
    assert publish_one(system, 11)
    assert nats.missing_redundancy(place) is None

    # iad comes back with events that no other region has; they are discarded.
    for name in IAD:
        system.start_part(name)
    system.wait_ready([system.parts[name] for name in IAD], time.monotonic() + DEADLINE_S)
    admit_no_client(system, bus_layout.of_region(place, "iad"))
    make_mirrors(system, "iad", 3)
    follows(system, 11, "iad")

    bus_layout.activate(place, "iad")
    promotion._restart(system, bus_layout.of_region(place, "iad"))
    assert make_bus(system, 11) == 11
    assert publish_one(system, 12)
    promotion._restart(system, bus_layout.of_region(place, "ams"))
    make_mirrors(system, "ams", 1)
    follows(system, 12, "ams")
    assert nats.missing_redundancy(place) is None


def test_a_canary_lies_on_the_mirrors_disk_unless_that_is_encrypted(system: System) -> None:
    make_streams(system)
    make_mirrors(system, "ams", 1)
    follows(system, 0, "ams")
    found = loops.run(stores.where_found(system, stores.new_canary()))
    assert list(found) == NODES
    encrypted = system.site.options.encryption == "on"
    assert [bool(files) for files in found.values()] == [not encrypted] * len(NODES)


def test_a_client_that_lost_the_bus_finds_it_in_ams_once_it_is_there(tmp_path: Path) -> None:
    with running(tmp_path / "home", NODES, Options(encryption="off")) as system:
        loops.run(_lose_and_find(system))


async def _lose_and_find(system: System) -> None:
    place, mine = system.place, certificates.client(system.site)
    ends = [*bus_layout.bus(place), *bus_layout.of_region(place, "ams")]
    settings = Settings(
        region="jnb", database_hosts="", replica="", database_user="", database_password="", valkey="",
        valkey_password="", nats_urls=",".join(f"nats://{place.endpoint(node, 'client')}" for node in ends),
        nats_user="relay", nats_password=system.site.secrets[bus_users.secret_name("relay")], nats_ca=str(mine.ca),
        tls_cert=str(mine.cert), tls_key=str(mine.key),
    )  # fmt: skip
    log = logging.getLogger("test")
    async with asyncio.timeout(2 * DEADLINE_S):
        client = await bus.connect(settings, "test", DependencyState(log), log)
        for name in IAD:
            await asyncio.to_thread(system.kill, name)
        while "uthorization" not in str(client.last_error):
            await asyncio.sleep(0.02)
        assert not client.is_closed
        bus_layout.activate(place, "ams")
        await asyncio.to_thread(promotion._restart, system, bus_layout.of_region(place, "ams"))
        while not client.is_connected:
            await asyncio.sleep(0.02)
        assert client.connected_url is not None
        assert client.connected_url.netloc.endswith(place.endpoint(ends[-1], "client"))
        await client.close()


def test_a_message_crosses_the_gateway_both_ways_and_again_after_one_side_was_away(tmp_path: Path) -> None:
    with running(tmp_path / "home", ["gateway-iad", "gateway-ams"], Options()) as system:
        iad, ams = system.place.nodes("gateway")
        for sender, receiver in ((iad, ams), (ams, iad)):
            assert gateway.crosses(system.place, sender, receiver, DEADLINE_S) is not None
        system.kill(ams.name)
        assert gateway.crosses(system.place, iad, ams, 1.0) is None
        system.start_part(ams.name)
        assert gateway.crosses(system.place, iad, ams, DEADLINE_S) is not None

"""Devices that wait for changes: an answer at once, when a change comes, or after the wait without one."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import msgspec
import pytest
import redis

from system import wire
from system.api.live import wake_hub
from system.api.live.wake_endpoint import WAIT_MAX_S, changed_since
from system.api.services import Services
from system.events.consumers.mobile_sync import WakeUp as WakeUpEffect
from system.settings import Settings
from system.tests import streaming
from system.tests.streaming import DEADLINE_S, Bus, Past, Stream, open_stream, served, token
from system.wire import Role, WakeUp

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")
Servers = tuple[Settings, Past, redis.Redis]


@dataclass
class World:
    settings: Settings
    past: Past
    bus: Bus
    valkey: redis.Redis
    services: Services

    async def ask(self, query: str, role: Role = "reader", client_id: str = "tests") -> WakeUp:
        stream = await self.request(query, role, client_id)
        assert stream.status == 200, await stream.body()
        body = await stream.body()
        stream.cut()
        return msgspec.json.decode(body, type=WakeUp)

    async def request(self, query: str, role: Role = "reader", client_id: str = "tests") -> Stream:
        return await open_stream(self.settings, f"{wire.WAKE}?{query}", role=role, client_id=client_id)

    async def waiting(self, count: int) -> None:
        """Wait until so many requests have come and wait for a ring."""
        async with asyncio.timeout(DEADLINE_S):
            while self.services.wake_hub.limit.taken != count or not all(
                waiter._future is not None for waiter in self.services.wake_hub._waiters
            ):
                await asyncio.sleep(0.01)


@pytest.fixture
def servers(
    database: Settings, nats_server: None, valkey_server: subprocess.Popen[bytes], port: Callable[[str], int]
) -> Iterator[Servers]:
    settings = replace(database, port=port("http"))
    host, _, number = settings.valkey.partition(":")
    past = Past(settings)
    with redis.Redis(host, int(number), password=settings.valkey_password) as valkey:
        valkey.flushall()
        yield settings, past, valkey
    past.close()


def run(servers: Servers, work: Callable[[World], Awaitable[None]], poll_every_s: float = DEADLINE_S) -> None:
    settings, past, valkey = servers

    async def main() -> None:
        bus = Bus(past, WakeUpEffect, settings)
        async with served(settings, poll_every_s=poll_every_s) as services:
            await work(World(settings, past, bus, valkey, services))
        await bus.close()

    streaming.run(main())


def test_newer_positions_are_answered_at_once(servers: Servers) -> None:
    async def work(world: World) -> None:
        world.past.happen("projects.0", 3)
        world.past.happen("countries.1")
        assert await world.ask("since=projects.0:1") == WakeUp(
            changed=["countries", "projects"], position="countries.1:1,projects.0:3"
        )
        assert await world.ask("since=projects.0:3,countries.1:1&wait_s=0") == WakeUp(
            changed=[], position="countries.1:1,projects.0:3"
        )

    run(servers, work)


def test_a_change_wakes_all_waiting_devices(servers: Servers) -> None:
    async def work(world: World) -> None:
        asked = [asyncio.create_task(world.ask(query)) for query in ("wait_s=25", "since=&wait_s=25", "since=")]
        await world.waiting(3)
        world.past.happen("projects.2")
        await world.bus.bring(["projects.2"])
        async with asyncio.timeout(DEADLINE_S):
            assert await asyncio.gather(*asked) == [WakeUp(changed=["projects"], position="projects.2:1")] * 3

    run(servers, work)


def test_a_change_wakes_devices_though_valkey_was_emptied(servers: Servers) -> None:
    async def work(world: World) -> None:
        asked = asyncio.create_task(world.ask("since="))
        await world.waiting(1)
        world.valkey.flushall()
        world.past.happen("projects.2")
        assert (await asked).changed == ["projects"]

    run(servers, work, poll_every_s=0.1)


def test_only_admins_are_woken_by_users(servers: Servers) -> None:
    async def work(world: World) -> None:
        world.past.happen("users.0")
        assert (await world.ask("since=&wait_s=0", "reader")).changed == []
        assert (await world.ask("since=&wait_s=0", "admin")).changed == ["users"]

    run(servers, work)


def test_a_device_that_knows_more_than_this_process_keeps_its_position(servers: Servers) -> None:
    async def work(world: World) -> None:
        world.past.happen("projects.0", 2)
        answer = await world.ask("since=projects.0:5&wait_s=0")
        assert answer == WakeUp(changed=[], position="projects.0:5")

    run(servers, work)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("wait_s=26", "wait_s"),
        ("wait_s=-1", "wait_s"),
        ("wait_s=x", "wait_s"),
        ("since=x", "expected each partition once"),
        ("since=projects.0:-1", "expected a position"),
        ("other=1", "other"),
    ],
)
def test_queries_that_are_refused(servers: Servers, query: str, said: str) -> None:
    async def work(world: World) -> None:
        refused = await world.request(query)
        assert refused.status == 400
        assert said in (await refused.body()).decode()
        refused.cut()

    run(servers, work)


def test_a_device_that_disconnects_leaves_nothing_behind(servers: Servers) -> None:
    async def work(world: World) -> None:
        writers = []
        bearer = f"authorization: Bearer {token(world.settings)}"
        for _ in range(3):
            _, writer = await asyncio.open_connection(world.settings.host, world.settings.port)
            writer.write(f"GET {wire.WAKE} HTTP/1.1\r\nhost: tests\r\n{bearer}\r\n\r\n".encode())
            writers.append(writer)
        await world.waiting(3)
        began = time.monotonic()
        for writer in writers:
            writer.transport.abort()
        await world.waiting(0)
        assert time.monotonic() - began < WAIT_MAX_S
        assert not world.services.wake_hub._waiters

    run(servers, work)


def test_all_are_answered_when_the_process_ends(servers: Servers) -> None:
    async def work(world: World) -> None:
        tasks = [asyncio.create_task(world.ask("wait_s=25")) for _ in range(3)]
        await world.waiting(3)
        world.services.end_waiting()
        assert [answer.changed for answer in await asyncio.gather(*tasks)] == [[]] * 3

    run(servers, work)


def test_there_is_a_limit_for_each(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake_hub, "WAITING_A_CLIENT_MAX", 1)

    async def work(world: World) -> None:
        first = asyncio.create_task(world.ask("wait_s=25", client_id="a"))
        await world.waiting(1)
        refused = await world.request("wait_s=25", client_id="a")
        assert refused.status == 429
        refused.cut()
        world.services.end_waiting()
        await first

    run(servers, work)


def test_changes_are_named_by_aggregate_in_order() -> None:
    positions = {"projects.0": 3, "projects.1": 1, "countries.0": 2, "users.0": 9}
    since = {"projects.0": 2, "countries.0": 2}
    assert changed_since(since, positions, ("countries", "projects", "incidents")) == ["projects"]
    assert changed_since({}, positions, ("countries", "projects", "users", "incidents")) == [
        "countries", "projects", "users",
    ]  # fmt: skip

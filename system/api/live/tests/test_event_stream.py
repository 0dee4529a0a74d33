"""Event streams over a real socket: no event is missed or sent twice, whatever is cut, emptied or slow."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import redis

from system import wire
from system.api.http.metrics import FROM_OUTBOX
from system.api.live import event_stream
from system.api.services import Services
from system.domain.event_log import parse_positions
from system.events.consumers.frontend_realtime import RealtimeFeed
from system.settings import Settings
from system.tests import streaming
from system.tests.servers import eventually
from system.tests.streaming import DEADLINE_S, Block, Bus, Past, all_of, open_stream, served
from system.wire import ALL_PARTITIONS

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")
PUBLIC = all_of("countries", "projects", "incidents")


@dataclass
class World:
    settings: Settings
    past: Past
    bus: Bus
    valkey: redis.Redis
    services: Services

    async def news(self, *partitions: str) -> None:
        for partition in partitions:
            self.past.happen(partition)
        await self.bus.bring(set(partitions))


@pytest.fixture
def servers(
    database: Settings, nats_server: None, valkey_server: subprocess.Popen[bytes], port: Callable[[str], int]
) -> Iterator[tuple[Settings, Past, redis.Redis]]:
    settings = replace(database, port=port("http"))
    host, _, number = settings.valkey.partition(":")
    past = Past(settings)
    with redis.Redis(host, int(number), password=settings.valkey_password) as valkey:
        valkey.flushall()
        yield settings, past, valkey
    past.close()


def run(
    servers: tuple[Settings, Past, redis.Redis], work: Callable[[World], Awaitable[None]], **options: object
) -> None:
    settings, past, valkey = servers

    async def main() -> None:
        bus = Bus(past, RealtimeFeed, settings)
        async with served(settings, **options) as services:  # type: ignore[arg-type]
            await work(World(settings, past, bus, valkey, services))
        await bus.close()

    streaming.run(main())


def check_order(events: list[Block], has: dict[str, int]) -> None:
    """Assert that events follow on the client's positions (`has`), and that each id holds the new positions."""
    for event in events:
        partition, position = event.place
        assert position == has.get(partition, 0) + 1
        has[partition] = position
        assert event.id == wire.event_positions(has)


def test_events_come_as_they_happen(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        world.past.happen("projects.0", 3)
        await world.bus.bring(["projects.0"])
        stream = await open_stream(world.settings)
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        first = await stream.block()
        # The stream starts now, and the client could resume it before the first event.
        assert (first.id, first.data) == ("projects.0:3", "")
        await world.news("projects.0", "countries.1", "incidents.2")
        events = await stream.events(3)
        check_order(events, {"projects.0": 3})
        assert sorted(event.event for event in events) == ["countries.updated", "incidents.updated", "projects.updated"]
        stream.cut()

    run(servers, work)


def test_ten_thousand_events_over_twenty_cuts(servers: tuple[Settings, Past, redis.Redis]) -> None:
    """The connection is cut at any byte, the feed loses events, Valkey is emptied, the API process is replaced."""
    rng = random.Random(3)
    settings, past, valkey = servers
    total, cuts = 10_000, 20
    has: dict[str, int] = {}
    happened: Counter[str] = Counter()

    async def happen(bus: Bus) -> None:
        for step in range(100):
            for partition in rng.sample(PUBLIC, 4):
                past.happen(partition, total // 400)
                happened[partition] += total // 400
            if step % 13 == 5:
                bus.lose(PUBLIC)
            if step % 13 == 5 or step % 17 == 5:
                valkey.flushall()
            await bus.bring(PUBLIC, again=rng.randrange(3))
            await asyncio.sleep(0.005)

    async def main() -> None:
        bus = Bus(past, RealtimeFeed, settings)
        happening = asyncio.create_task(happen(bus))
        got = 0
        last_id = ""
        for cut in range(cuts + 1):
            # Now and then another process, which has no state of this client.
            async with served(settings, poll_every_s=0.2):
                for _ in range(1 if cut % 5 else 3):
                    stream = await open_stream(settings, last_id=last_id)
                    assert stream.status == 200
                    wanted = total - got if cut == cuts else min(total - got, rng.randrange(1, 2 * total // (cuts * 2)))
                    events = await stream.events(wanted)
                    check_order(events, has)
                    got += len(events)
                    last_id = events[-1].id or "" if events else last_id
                    stream.cut()
        await happening
        await bus.close()

    streaming.run(main())
    assert has == happened
    assert sum(has.values()) == total


def test_what_the_feed_lost_comes_from_the_outbox(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        stream = await open_stream(world.settings)
        await world.news("projects.0")
        has: dict[str, int] = {}
        check_order(await stream.events(1), has)
        world.past.happen("projects.0", 5)
        world.bus.lose(["projects.0"])
        world.valkey.flushall()
        await world.news("projects.0")
        check_order(await stream.events(6), has)
        # No later event shows the gap in the feed: the poll of the database finds it.
        world.past.happen("projects.0", 2)
        check_order(await stream.events(2), has)
        assert world.services.event_streams.hub.filled == 7
        stream.cut()

    run(servers, work, poll_every_s=0.1)


def test_an_unavailable_valkey_delays_events_and_loses_none(
    servers: tuple[Settings, Past, redis.Redis], port: Callable[[str], int]
) -> None:
    settings, past, valkey = servers

    async def work(world: World) -> None:
        stream = await open_stream(world.settings)
        past.happen("projects.0", 3)
        check_order(await stream.events(3), {})
        stream.cut()

    run((replace(settings, valkey="127.0.0.1:1"), past, valkey), work, poll_every_s=0.1)


def test_a_client_that_was_gone_for_long_reads_from_the_outbox(
    servers: tuple[Settings, Past, redis.Redis],
) -> None:
    async def work(world: World) -> None:
        world.past.happen("projects.0", 1_000)
        world.past.happen("projects.1", 5)
        await world.bus.bring(["projects.0", "projects.1"])
        before = FROM_OUTBOX._value.get()
        stream = await open_stream(world.settings, last_id="projects.0:100,projects.1:2")
        has = {"projects.0": 100, "projects.1": 2}
        check_order(await stream.events(903), has)
        assert FROM_OUTBOX._value.get() > before
        await world.news("projects.0")
        check_order(await stream.events(1), has)
        stream.cut()

    run(servers, work)


def test_since_is_the_same_as_the_header(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        world.past.happen("projects.0", 5)
        stream = await open_stream(world.settings, f"{wire.EVENTS}?since=projects.0:3")
        check_order(await stream.events(2), {"projects.0": 3})
        stream.cut()

    run(servers, work)


def test_only_admins_get_events_of_users(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        streams = {role: await open_stream(world.settings, role=role) for role in ("reader", "operator", "admin")}
        await world.news("users.0", "users.1")
        await world.news("projects.0")
        for role, stream in streams.items():
            expected = {"users.0", "users.1", "projects.0"} if role == "admin" else {"projects.0"}
            events = await stream.events(len(expected))
            assert {event.place[0] for event in events} == expected
            # A client that reconnects does not get them again.
            assert parse_positions(events[-1].id or "", ALL_PARTITIONS)["users.0"] == 1
            stream.cut()
        refused = await open_stream(world.settings, f"{wire.EVENTS}?aggregates=users")
        assert refused.status == 403
        refused.cut()

    run(servers, work)


def test_a_filter_leaves_out_the_rest(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        world.past.happen("countries.0", 2)
        await world.bus.bring(["countries.0"])
        stream = await open_stream(world.settings, f"{wire.EVENTS}?aggregates=projects&since=")
        await world.news("countries.0")
        await world.news("projects.0")
        [event] = await stream.events(1)
        assert event.event == "projects.updated"
        assert event.id == "countries.0:3,projects.0:1"
        stream.cut()

    run(servers, work)


@pytest.mark.parametrize(
    ("path", "last_id", "status", "said"),
    [
        (f"{wire.EVENTS}?since=x", None, 400, "expected each partition once"),
        (f"{wire.EVENTS}?since=projects.7:1", None, 400, "expected each partition once"),
        (wire.EVENTS, "projects.0:x", 400, "expected a position"),
        (wire.EVENTS, "projects.0:1," * 100, 400, "at most 1000 characters"),
        (f"{wire.EVENTS}?aggregates=projects,planets", None, 400, "found 'planets'"),
        (f"{wire.EVENTS}?other=1", None, 400, "other"),
        (wire.EVENTS, "projects.0:4", 410, "was not given out, the last one is 3"),
        (wire.EVENTS, "", 410, "the event at position 1 is not kept"),
    ],
)
def test_requests_that_are_refused(
    servers: tuple[Settings, Past, redis.Redis], path: str, last_id: str | None, status: int, said: str
) -> None:
    async def work(world: World) -> None:
        world.past.happen("projects.0", 3)
        world.past.forget_before("projects.0", 3)
        stream = await open_stream(world.settings, path, last_id=last_id)
        assert stream.status == status
        assert stream.headers["content-type"] == "application/problem+json"
        assert said in (await stream.body()).decode()
        assert world.services.event_streams.limit.taken == 0
        stream.cut()

    run(servers, work)


def test_heartbeats_carry_the_clients_positions(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        stream = await open_stream(world.settings, f"{wire.EVENTS}?aggregates=projects")
        await world.news("countries.0")
        async with asyncio.timeout(DEADLINE_S):
            async for block in stream.blocks():
                assert block.data == ""
                if block.id == "countries.0:1":
                    break
                assert block.id == ""
        stream.cut()

    run(servers, work, heartbeat_s=0.05)


def test_there_is_no_heartbeat_between_events(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        stream = await open_stream(world.settings)
        await stream.block()
        for _ in range(20):
            await world.news("projects.0")
            assert (await stream.block()).data
        stream.cut()

    run(servers, work, heartbeat_s=DEADLINE_S)


def test_a_client_that_disconnects_leaves_nothing_behind(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        realtime = world.services.event_streams
        tasks = len(asyncio.all_tasks())
        streams = [await open_stream(world.settings) for _ in range(20)]
        for stream in streams:
            await stream.block()
        assert realtime.limit.taken == 20
        for stream in streams:
            stream.cut()
        # At once: heartbeats are a minute apart here.
        await eventually(lambda: realtime.limit.taken == 0)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        assert not realtime.hub._waiters

    run(servers, work, heartbeat_s=DEADLINE_S)


def test_a_token_that_expires_ends_the_stream_cleanly(servers: tuple[Settings, Past, redis.Redis]) -> None:
    clock = [time.time()]

    async def work(world: World) -> None:
        stream = await open_stream(world.settings)
        await stream.block()
        clock[0] += 1_000
        await world.news("projects.0")
        async with asyncio.timeout(DEADLINE_S):
            blocks = [block async for block in stream.blocks()]
        assert stream.ended
        # Nothing that has happened since, and a hint to come back soon.
        assert blocks == [Block(id=None, event="", data="", comment="", retry_ms="100")]
        stream.cut()
        clock[0] -= 1_000
        resumed = await open_stream(world.settings, last_id="")
        check_order(await resumed.events(1), {})
        resumed.cut()

    run(servers, work, now=lambda: clock[0])


def test_streams_end_with_the_process(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        stream = await open_stream(world.settings)
        world.services.end_waiting()
        async with asyncio.timeout(DEADLINE_S):
            _ = [block async for block in stream.blocks()]
        assert stream.ended
        stream.cut()

    run(servers, work)


def test_there_is_a_limit_for_all_and_one_for_each(
    servers: tuple[Settings, Past, redis.Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SUBSCRIBERS_MAX", 3)
    monkeypatch.setattr(event_stream, "SUBSCRIBERS_A_CLIENT_MAX", 2)

    async def work(world: World) -> None:
        streams = [await open_stream(world.settings, client_id=name) for name in ("a", "a", "a", "b", "b")]
        assert [stream.status for stream in streams] == [200, 200, 429, 200, 503]
        assert streams[2].headers["retry-after"] == "10"
        for stream in streams:
            stream.cut()
        await eventually(lambda: world.services.event_streams.limit.taken == 0)

    run(servers, work)


def test_a_stream_needs_a_token(servers: tuple[Settings, Past, redis.Redis]) -> None:
    async def work(world: World) -> None:
        with socket.create_connection((world.settings.host, world.settings.port)) as connection:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(connection, f"GET {wire.EVENTS} HTTP/1.1\r\nhost: tests\r\n\r\n".encode())
            assert (await loop.sock_recv(connection, 100)).startswith(b"HTTP/1.1 401")

    run(servers, work)

"""For tests of event streams and wake-up calls: the API on a real socket, a client whose connection can be cut at any
byte, and events that happen as fast as the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import warnings
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, NamedTuple

import msgspec
import psycopg
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from system import event_loop, wire
from system.api.app import create_app
from system.api.auth.tokens import Tokens
from system.api.live.event_hub import EventHub
from system.api.live.event_stream import EventStreams
from system.api.live.wake_hub import WakeHub
from system.api.services import Services
from system.api.wiring import open_services
from system.events.consuming.effect import Delivery
from system.events.consuming.valkey import ValkeyEffect
from system.process import DependencyState
from system.settings import Settings
from system.store.event_history import EventHistory
from system.store.outbox import AFTER
from system.store.valkey import client as valkey_client
from system.wire import EVENT_KINDS, Aggregate, Role, partitions_of, stream_of

DEADLINE_S = 60.0
LOG = logging.getLogger("test")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test on uvloop, like the API. A test that fails leaves connections open; the loop closes them at its end
    and warns of each. If such a warning were an error it would interrupt the closing, and uvloop would wait for
    ever."""
    with asyncio.Runner(loop_factory=event_loop.fastest()) as runner:
        try:
            runner.run(main)
        except BaseException:
            warnings.simplefilter("ignore", ResourceWarning)
            raise


@contextlib.asynccontextmanager
async def served(settings: Settings, *, poll_every_s: float = 5.0, **options: Any) -> AsyncIterator[Services]:
    """Run the API with these settings; `options` are those of EventStreams."""
    async with open_services(settings, Tokens(settings.token_keys), LOG) as opened, asyncio.TaskGroup() as group:
        dependencies = DependencyState(LOG)
        history = EventHistory(opened.reader, opened.primary)
        valkey = valkey_client.connect(settings, 3)
        hub = EventHub(valkey, history, dependencies, poll_every_s)
        wake_hub = WakeHub(valkey, history, dependencies, poll_every_s)
        services = dataclasses.replace(opened, event_streams=EventStreams(hub, history, **options), wake_hub=wake_hub)
        tasks = [group.create_task(one.run()) for one in (hub, wake_hub)]
        server = Server(
            create_app(services), address=settings.host, port=settings.port, interface=Interfaces.ASGINL,
            http=HTTPModes.http1, websockets=False, log_enabled=False, backpressure=20_000,
        )  # fmt: skip
        serving = asyncio.ensure_future(server.serve())
        try:
            await listening(settings)
            yield services
        finally:
            services.end_waiting()
            server.stop()  # type: ignore[no-untyped-call]
            await serving
            for task in tasks:
                task.cancel()
            _, left = await asyncio.wait(tasks, timeout=DEADLINE_S)
            assert not left, left
            await valkey.aclose()


async def listening(settings: Settings) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(settings.host, settings.port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


def token(settings: Settings, role: Role = "reader", client_id: str = "tests") -> str:
    return Tokens(settings.token_keys).sign(client_id, role, "ams" if role == "steward" else None, 1_000)


class Block(NamedTuple):
    """A block of a stream. `id` is None if it has none; `event` and `data` are empty if it is no event."""

    id: str | None
    event: str
    data: str
    comment: str
    retry_ms: str = ""

    @property
    def place(self) -> tuple[str, int]:
        event = msgspec.json.decode(self.data)
        return event["partition"], event["position"]


class Stream:
    """A connection to an endpoint, whose answer is read as it arrives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False
        """Whether the body is complete. False if the connection ended first."""
        self._text = b""

    async def begin(self) -> None:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}

    async def body(self) -> bytes:
        return await self._reader.readexactly(int(self.headers["content-length"]))

    async def blocks(self) -> AsyncIterator[Block]:
        """The blocks up to the end of the body. IncompleteReadError if the connection ends first."""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            self._text += (await self._reader.readexactly(size + 2))[:-2]
            *whole, self._text = self._text.split(b"\n\n")
            for one in whole:
                yield _block(one.decode())
        self.ended = True

    async def events(self, count: int) -> list[Block]:
        """The next `count` events; other blocks are skipped."""
        found: list[Block] = []
        async with asyncio.timeout(DEADLINE_S):
            async for block in self.blocks():
                if block.data:
                    found.append(block)
                if len(found) == count:
                    break
        return found

    async def block(self) -> Block:
        async with asyncio.timeout(DEADLINE_S):
            return await anext(aiter(self.blocks()))

    def cut(self) -> None:
        self._writer.transport.abort()


def _block(text: str) -> Block:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(": ")
        assert name not in fields, text
        fields[name] = value
    return Block(
        fields.get("id"), fields.get("event", ""), fields.get("data", ""), fields.get("", ""), fields.get("retry", "")
    )


async def open_stream(
    settings: Settings, path: str = wire.EVENTS, *, last_id: str | None = None, role: Role = "reader",
    client_id: str = "tests",
) -> Stream:  # fmt: skip
    """Send a request, and read status and headers."""
    reader, writer = await asyncio.open_connection(settings.host, settings.port, limit=2**24)
    headers = {"host": "tests", "authorization": f"Bearer {token(settings, role, client_id)}"}
    if last_id is not None:
        headers["last-event-id"] = last_id
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    stream = Stream(reader, writer)
    async with asyncio.timeout(DEADLINE_S):
        await stream.begin()
    return stream


class Past:
    """Writes events into the outbox, with positions, as database and relay would."""

    _INSERT = """
        with made as (
            insert into outbox (aggregate, aggregate_id, partition, region, type, before, after)
            select %(aggregate)s, t.id, %(partition)s, %(region)s, %(type)s, to_jsonb(t), to_jsonb(t)
            from generate_series(1, %(count)s), (select * from {table} limit 1) t returning id, partition
        )
        insert into outbox_position (outbox_id, partition, position)
        select id, partition, next_position + row_number() over (order by id) - 1
        from made join relay_partition using (partition)"""
    _TAKEN = "delete from outbox_queue"
    _FORGET = """
        with old as (
            delete from outbox_position where partition = %s and position < %s returning outbox_id
        )
        delete from outbox where id in (select outbox_id from old)"""
    _MOVE = "update relay_partition set next_position = next_position + %(count)s where partition = %(partition)s"

    def __init__(self, settings: Settings) -> None:
        host, _, port = settings.database_hosts.partition(":")
        address = f"host={host} port={port} dbname={settings.database} user=postgres"
        self._connection = psycopg.connect(address, autocommit=True)
        self._connection.execute("""
            insert into users (id, role, rate_per_s) values ('someone', 'reader', 1);
            insert into incidents (region, kind, severity, subject, title, detail, raised_by)
            values ('ams', 'reported', 'info', 'tests', 'Something', '', 'someone');
            delete from outbox; delete from outbox_queue""")

    def happen(self, partition: str, count: int = 1) -> None:
        """Add `count` events to a partition."""
        aggregate = partition.partition(".")[0]
        values = {
            "aggregate": aggregate, "partition": partition, "count": count, "type": "updated",
            "region": None if aggregate == "users" else "ams",
        }  # fmt: skip
        with self._connection.transaction():
            self._connection.execute(self._INSERT.format(table=aggregate), values)
            self._connection.execute(self._MOVE, values)
            self._connection.execute(self._TAKEN)

    def forget_before(self, partition: str, position: int) -> None:
        """Delete events, as pruning does."""
        self._connection.execute(self._FORGET, (partition, position))

    def deliveries(self, partition: str, after: int) -> list[Delivery]:
        """What the bus would deliver of a partition."""
        kind = EVENT_KINDS[partition.partition(".")[0]]  # type: ignore[index]
        query = AFTER.replace("$1", "%s").replace("$2", "%s").replace("$3", "%s")
        rows = self._connection.execute(query, (partition, after, 10**6)).fetchall()
        return [Delivery(msgspec.json.decode(row[3], type=kind), None) for row in rows]

    def tail(self, partition: str) -> int:
        query = "select next_position - 1 from relay_partition where partition = %s"
        return int((self._connection.execute(query, (partition,)).fetchone() or (0,))[0])

    def execute(self, statement: str) -> None:
        self._connection.execute(statement)

    def close(self) -> None:
        self._connection.close()


class Bus:
    """Delivers events to an effect, each once unless the test wants more."""

    def __init__(self, past: Past, effect: type[ValkeyEffect], settings: Settings) -> None:
        self._past = past
        self._effect = effect(settings, stream_of("projects"))
        self._reported_as = f"{effect.consumer}-{settings.region}"
        self._brought: dict[str, int] = {}

    async def bring(self, partitions: Iterable[str], *, again: int = 0) -> None:
        """Deliver all new events, and the last `again` old ones."""
        batch = {}
        for partition in partitions:
            new = self._past.deliveries(partition, max(0, self._brought.get(partition, 0) - again))
            if new:
                batch[partition] = new
                self._brought[partition] = new[-1].position
        if batch:
            admissions = await self._effect.apply(batch)
            # Fill gaps as the runner does, but at once.
            waits = {name: one.next_position for name, one in admissions.items() if one.held}
            if waits:
                await self._effect.apply({name: self._past.deliveries(name, at - 1) for name, at in waits.items()})

    def lose(self, partitions: Iterable[str]) -> None:
        """Report all new events as applied, without applying them, as if Valkey was emptied right after it."""
        for partition in partitions:
            self._brought[partition] = self._past.tail(partition)
            self._past.execute(
                f"insert into consumer_position (consumer, partition, position, reported_at) values "
                f"('{self._reported_as}', '{partition}', {self._brought[partition]}, now()) "
                "on conflict (consumer, partition) do update set position = excluded.position"
            )

    async def close(self) -> None:
        await self._effect.close()


def all_of(*aggregates: Aggregate) -> list[str]:
    return [partition for aggregate in aggregates for partition in partitions_of(aggregate)]

"""How fast analytics applies what has piled up, beside consumers that keep an inbox row an event (`inbox_peer`), on
the same servers of a system that is started for it and removed afterwards.

    .venv/bin/python -m loadtests.benchmarks.analytics_catch_up

Relay, APIs and all consumers are stopped; the events are published as the relay would in a catch-up, 500 a message;
then analytics alone is started, and its positions in PostgreSQL are read until all are applied. It is clocked from
the first move of its positions on, so that the start of Python does not count. Afterwards the roll-ups must have moved
by exactly what the events say. The peers take turns afterwards, each with a stream of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import nats
import psutil
import psycopg
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import PubAck, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from infra.fabric.process.create import CannotStart
from infra.fabric.process.system import System
from infra.fabric.protocol import StartError
from infra.machine import processes
from infra.machine.progress import Report, step
from infra.parts import postgres
from infra.site import bus_users
from infra.target import Login
from loadtests.benchmarks import inbox_peer, own_system
from loadtests.benchmarks.inbox_peer import Done, Task, Variant
from system import event_loop, wire
from system.wire import observer

_STOPPED = ("api", "relay", *(consumer.name for consumer in observer.CONSUMERS))
_PARTITIONS = wire.partitions_of("projects")
_POSITIONS = f"""
select partition, position from {observer.CONSUMER_POSITIONS} where consumer = 'analytics' and partition = any(%s)"""
_FUNDING = f"select coalesce(sum(funding_usd_millions), 0) from {observer.ROLLUPS}"
_IN_FLIGHT_MAX = 16
_WITHIN_S = 900.0
_ACK_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.02
_CENTS_AN_EVENT = Decimal("0.01")
_AT_LEAST_PER_S = 100_000
_AT_LEAST_TIMES = 10
_PEERS: tuple[tuple[Variant, int, str], ...] = (
    ("single", 100, "inbox row an event, 1 event a message, 1 a transaction"),
    ("batched", 10, "inbox row an event, 1 event a message, 500 a transaction"),
    ("framed", 5, "inbox row an event, 500 events a message, 500 a transaction"),
)
"""Variant, what part of the events it gets, what it is."""

# One JSON event with its id, partition, number and position to be filled in, as the relay writes it.
_EVENT = (
    '{{"id":"{id}","type":"updated","aggregate":"projects","aggregate_id":"{id}","partition":"{partition}",'
    '"position":{position},"region":"syd","occurred_at":"2026-01-01T00:00:00.000000Z","before":{project}10.00}},'
    '"after":{project}10.01}}}}'
)
_PROJECT = (
    '{{"id":"{id}","name":"Catch-up {position}","region":"syd","country_code":"AUS","sector":"Health",'
    '"status":"Active","version":1,"funding_usd_millions":'
)


class Failed(Exception):
    """A side did not do what the comparison needs; says what."""


class Row(NamedTuple):
    """One line of the table; CPU in seconds, of the consumer's process and of NATS and PostgreSQL."""

    name: str
    events: int
    seconds: float
    consumer_cpu_s: float
    servers_cpu_s: float

    @property
    def per_s(self) -> float:
        return self.events / self.seconds


def encoded(partition: str, first: int, count: int) -> Iterator[tuple[str, bytes]]:
    """So many events as JSON, with their ids; positions follow on from `first`."""
    for position in range(first, first + count):
        number = int(partition[-1]) << 40 | position
        identity = f"00000000-0000-4000-8000-{number:012x}"
        project = _PROJECT.format(id=identity, position=position)
        event = _EVENT.format(id=identity, partition=partition, position=position, project=project)
        yield identity, event.encode()


class CatchUp:
    """The comparison on one system."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._secrets = system.site.secrets
        self._observer = system.target().observer_dsn
        [self._analytics] = [name for name, part in system.parts.items() if part.kind == "analytics"]

    def stop_others(self) -> None:
        for name, part in self._system.parts.items():
            if part.kind in _STOPPED:
                self._system.kill(name)

    def analytics(self, events: int) -> Row:
        """Publish, start analytics, wait until all is applied."""
        with psycopg.connect(self._observer, autocommit=True) as link:
            before = self._positions(link)
            funding = self._funding(link)
            share = events // wire.PARTITIONS
            with step("publishing") as progress:
                event_loop.run(self._publish_frames({name: before[name] + 1 for name in _PARTITIONS}, share, progress))
            target = sum(before.values()) + share * wire.PARTITIONS
            self._system.start_part(self._analytics)
            deadline = time.monotonic() + _WITHIN_S
            start = self._moved(link, sum(before.values()), deadline)
            process = processes.tree(self._process())
            began, cpu, servers = time.perf_counter(), _cpu_s(process), self._servers_cpu_s()
            while (now := sum(self._positions(link).values())) < target:
                if time.monotonic() > deadline:
                    raise Failed(f"expected position {target:,} within {_WITHIN_S:.0f} s, found {now:,}")
                time.sleep(_LOOK_EVERY_S)
            row = Row(
                "analytics: a position a partition, 500 events a message", target - start,
                time.perf_counter() - began, _cpu_s(process) - cpu, self._servers_cpu_s() - servers,
            )  # fmt: skip
            self._system.kill(self._analytics)
            moved, expected = self._funding(link) - funding, share * wire.PARTITIONS * _CENTS_AN_EVENT
            if moved != expected:
                raise Failed(f"expected the roll-ups to move by {expected}, found {moved}")
        return row

    def peer(self, variant: Variant, events: int, name: str) -> Row:
        """Publish to a stream of its own, run the peer."""
        with step(f"publishing for {variant}") as progress:
            event_loop.run(self._publish_for_peer(variant, events, progress))
        owner = postgres.dsn(self._system.place, "covenant_owner", self._secrets["owner"])
        with psycopg.connect(owner, autocommit=True) as link:
            link.execute("drop table if exists inbox_peer, inbox_peer_rollup")
            link.execute(inbox_peer.TABLES)
        task = Task(
            variant=variant, events=events, dsn=postgres.dsn(self._system.place, "covenant_app", self._secrets["app"])
            .replace("&connect_timeout=3", ""),
            target=str(self._system.target_path), within_s=_WITHIN_S,
        )  # fmt: skip
        servers = self._servers_cpu_s()
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.benchmarks.inbox_peer"], input=msgspec.json.encode(task),
            capture_output=True, timeout=_WITHIN_S + 60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failed(f"{variant}: {done.stderr.decode(errors='replace')[-1_000:]}")
        result = msgspec.json.decode(done.stdout, type=Done)
        return Row(name, result.events, result.seconds, result.cpu_s, self._servers_cpu_s() - servers)

    def _options(self, user: str) -> dict[str, Any]:
        login = Login(user=user, password=self._secrets[bus_users.secret_name(user)])
        return self._system.target().nats_options(login)

    async def _publish_frames(self, first: dict[str, int], share: int, progress: Report) -> None:
        client = await nats.connect(**self._options("relay"))
        window = Window(client.jetstream())
        for start in range(0, share, wire.EVENTS_A_MESSAGE_MAX):
            for partition in _PARTITIONS:
                begin, count = first[partition] + start, min(wire.EVENTS_A_MESSAGE_MAX, share - start)
                ids, parts = zip(*encoded(partition, begin, count), strict=True)
                positions = f"{begin}-{begin + count - 1}"
                headers = {
                    wire.MESSAGE_ID_HEADER: f"{partition}:{positions}:{ids[0]}", wire.POSITIONS_HEADER: positions,
                }  # fmt: skip
                await window.publish(wire.event_subject(partition), b"[" + b",".join(parts) + b"]", headers)
            progress(min(1.0, (start + wire.EVENTS_A_MESSAGE_MAX) / share), "")
        await window.drained()
        await client.close()

    async def _publish_for_peer(self, variant: Variant, events: int, progress: Report) -> None:
        client = await nats.connect(**self._options(bus_users.LOAD))
        js = client.jetstream()
        with suppress(NotFoundError):
            await js.delete_stream(inbox_peer.STREAM)
        replicas = self._system.target().stream_replicas
        config = StreamConfig(
            name=inbox_peer.STREAM, subjects=["load.>"], storage=StorageType.FILE, num_replicas=replicas
        )
        await js.add_stream(config)
        framing = inbox_peer.BATCH if variant == "framed" else 1
        window = Window(js, _IN_FLIGHT_MAX if variant == "framed" else 1_000)
        for start in range(1, events + 1, framing):
            count = min(framing, events + 1 - start)
            parts = [data for _, data in encoded("projects.0", start, count)]
            await window.publish("load.events", b"[" + b",".join(parts) + b"]", {})
            if start // framing % 100 == 0:
                progress(start / events, "")
        await window.drained()
        await client.close()

    def _moved(self, link: psycopg.Connection, before: int, deadline: float) -> int:
        while (now := sum(self._positions(link).values())) == before:
            if time.monotonic() > deadline:
                raise Failed(f"analytics applied nothing within {_WITHIN_S:.0f} s")
            time.sleep(_LOOK_EVERY_S)
        return now

    def _positions(self, link: psycopg.Connection) -> dict[str, int]:
        return dict(link.execute(_POSITIONS, (list(_PARTITIONS),)).fetchall())

    def _funding(self, link: psycopg.Connection) -> Decimal:
        [total] = link.execute(_FUNDING).fetchone() or (Decimal(0),)
        return Decimal(total)

    def _process(self) -> psutil.Process:
        pid = self._system.pid(self._analytics)
        if pid is None:
            raise Failed("analytics ended by itself; its log is in the system's home")
        return psutil.Process(pid)

    def _servers_cpu_s(self) -> float:
        names = [name for name, part in self._system.parts.items() if part.kind in ("nats", "postgres")]
        pids = [pid for pid in map(self._system.pid, names) if pid is not None]
        return sum(_cpu_s(processes.tree(psutil.Process(pid))) for pid in pids)


class Window:
    """Publishes with so many unacknowledged messages at most."""

    def __init__(self, js: JetStreamContext, size: int = _IN_FLIGHT_MAX) -> None:
        self._js = js
        self._size = size
        self._waiting: list[asyncio.Future[PubAck]] = []

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        if len(self._waiting) >= self._size:
            half = self._size // 2 or 1
            await _acknowledged(self._waiting[:half])
            del self._waiting[:half]
        self._waiting.append(await self._js.publish_async(subject, payload, headers=headers))

    async def drained(self) -> None:
        await _acknowledged(self._waiting)
        self._waiting.clear()


async def _acknowledged(answers: list[asyncio.Future[PubAck]]) -> None:
    async with asyncio.timeout(_ACK_WITHIN_S):
        await asyncio.gather(*answers)


def _cpu_s(tree: list[psutil.Process]) -> float:
    total = 0.0
    for process in tree:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue  # It ended meanwhile; what it used is its parent's.
        total += times.user + times.system
    return total


def table(rows: list[Row], durability: str) -> str:
    """The table, the first row being ours."""
    lines = [
        durability,
        f"{'consumer':<60} {'events':>10} {'events/s':>10} {'of ours':>8} {'CPU s':>7} {'servers':>8} {'us/event':>9}",
    ]
    for row in rows:
        times = rows[0].per_s / row.per_s
        lines.append(
            f"{row.name:<60} {row.events:>10,} {row.per_s:>10,.0f} {f'1/{times:.1f}':>8} {row.consumer_cpu_s:>7.1f} "
            f"{row.servers_cpu_s:>8.1f} {row.consumer_cpu_s / row.events * 1e6:>9.1f}"
        )
    ours, classic = rows[0], rows[1]
    lines.append(f"expected {_AT_LEAST_PER_S:,} events/s, found {ours.per_s:,.0f}")
    lines.append(f"expected {_AT_LEAST_TIMES} times one inbox row an event, found {ours.per_s / classic.per_s:.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    try:
        with own_system.started("catch-up") as system:
            comparison = CatchUp(system)
            comparison.stop_others()
            rows = [comparison.analytics(options.events)]
            rows += [comparison.peer(variant, max(500, options.events // part), name) for variant, part, name in _PEERS]
            print(table(rows, system.target().durability))
    except (CannotStart, StartError, Failed, Error, TimeoutError, psycopg.Error) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()

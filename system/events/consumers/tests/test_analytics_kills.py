"""Analytics is killed at any moment, on a real NATS and PostgreSQL: each event takes effect once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from system.domain.frames import EncodedEvent
from system.events import bus
from system.events.consumers.analytics import Analytics
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.guard import Admission
from system.events.consuming.runner import Consumer
from system.events.publish import publish
from system.events.streams import ensure_stream
from system.process import DependencyState
from system.settings import Settings, variable
from system.wire import DEAD_LETTERS, PROJECTS_STREAM, STREAMS, Project, ProjectEvent, partitions_of

LOG = logging.getLogger("test")
DEADLINE_S = 60.0
CELL = "select projects, funding_usd_millions from rollup where (region, sector, status) = ('syd', 'Health', 'Pending')"
POSITIONS = "select position from consumer_position where consumer = 'analytics' and partition like 'projects.%'"
# Each range begins where the one before it ended.
BROKEN = """select count(*) from (select first, lag(last, 1, 0::bigint) over (partition by partition
    order by first, last) as before from consumer_applied where consumer = 'analytics') t where first <> before + 1"""


def creations(partition: str, first: int, last: int) -> list[EncodedEvent]:
    encode = msgspec.json.Encoder(decimal_format="number").encode
    found = []
    for position in range(first, last + 1):
        project = Project(
            id=f"{partition}-{position}", name="P", region="syd", country_code="AUS", sector="Health",
            status="Pending", funding_usd_millions=Decimal("1.25"), version=1,
        )  # fmt: skip
        event = ProjectEvent(
            id=project.id, type="created", aggregate="projects", aggregate_id=project.id, partition=partition,
            position=position, region="syd", occurred_at="2026-01-01T00:00:00Z", before=None, after=project,
        )  # fmt: skip
        found.append(EncodedEvent(partition, position, event.id, encode(event)))
    return found


@pytest.fixture
def servers(nats_server: None, database: Settings) -> Settings:
    return database


def on_streams(settings: Settings, work: Callable[[Client], Awaitable[None]]) -> None:
    """Run `work` on new, empty streams."""

    async def run() -> None:
        client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
        js = client.jetstream()
        try:
            for name in (*(stream.name for stream in STREAMS), DEAD_LETTERS):
                with contextlib.suppress(NotFoundError):
                    await js.delete_stream(name)
            for stream in STREAMS:
                await ensure_stream(js, stream, 1)
            await work(client)
        finally:
            await client.close()

    asyncio.run(run())


class DiesAfterCommit(Analytics):
    """Commits, and then never returns, as if killed."""

    committed: asyncio.Event

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        await super().apply(batch)
        self.committed.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def test_a_consumer_that_dies_between_commit_and_acknowledgement(
    servers: Settings, ask: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    [(projects, _)] = ask(CELL)

    async def work(client: Client) -> None:
        await publish(client.jetstream(), creations("projects.0", 1, 700), 10)
        effect = DiesAfterCommit(servers, PROJECTS_STREAM)
        effect.committed = asyncio.Event()
        async with _consuming(servers, client, effect):
            await asyncio.wait_for(effect.committed.wait(), DEADLINE_S)
        assert await _unacknowledged(client) > 0
        assert ask(CELL)[0][0] > projects
        async with _consuming(servers, client, Analytics(servers, PROJECTS_STREAM)), asyncio.timeout(DEADLINE_S):
            while await _unacknowledged(client) > 0:
                await asyncio.sleep(0.02)

    on_streams(servers, work)
    assert [row[0] for row in ask(CELL)] == [projects + 700]
    assert ask(BROKEN) == [(0,)]


@contextlib.asynccontextmanager
async def _consuming(settings: Settings, client: Client, effect: Analytics) -> Any:
    consumer = Consumer("analytics", PROJECTS_STREAM, effect, settings, client, DependencyState(LOG), LOG)
    consuming = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        consuming.cancel()
        await asyncio.wait({consuming})


async def _unacknowledged(client: Client) -> int:
    info = await client.jetstream().consumer_info(PROJECTS_STREAM.name, "analytics")
    return int(info.num_pending or 0) + int(info.num_ack_pending or 0)


def test_a_process_that_is_killed_at_random_applies_each_event_once(
    servers: Settings, ask: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    [(projects, funding)] = ask(CELL)
    count = 4_000
    chance = random.Random(3)

    async def work(client: Client) -> None:
        for first in range(1, count, 40):  # Many small messages, so that kills fall between them.
            for partition in partitions_of("projects"):
                await publish(client.jetstream(), creations(partition, first, first + 39), 10)

    on_streams(servers, work)
    kills = 0
    deadline = time.monotonic() + DEADLINE_S
    while {row[0] for row in ask(POSITIONS)} != {count}:
        assert time.monotonic() < deadline, f"{ask(POSITIONS)} after {kills} kills"
        with _process(servers) as process:
            if kills < 6:
                _until_moved(lambda: sum(row[0] for row in ask(POSITIONS)), 4 * count, deadline)
                time.sleep(chance.random() / 100)
                process.send_signal(signal.SIGKILL)
                kills += 1
            else:
                _until(lambda: {row[0] for row in ask(POSITIONS)} == {count}, deadline)
    assert ask(CELL) == [(projects + 4 * count, funding + 4 * count * Decimal("1.25"))]
    assert ask(BROKEN) == [(0,)]


def test_a_process_makes_its_ready_file_and_serves_its_metrics(
    servers: Settings, ask: Callable[[str], list[tuple[Any, ...]]], port: Callable[[str], int], tmp_path: Path
) -> None:
    async def work(client: Client) -> None:
        await publish(client.jetstream(), creations("projects.0", 1, 30), 10)

    on_streams(servers, work)
    ready = tmp_path / "ready"
    process_settings = replace(servers, metrics_port=port("http"), ready_file=str(ready))
    deadline = time.monotonic() + DEADLINE_S
    with _process(process_settings):
        _until(lambda: ready.exists() and (30,) in ask(POSITIONS), deadline)
        labels = f'{{consumer="analytics",stream="{PROJECTS_STREAM.name}"}}'
        url = f"http://{process_settings.host}:{process_settings.metrics_port}/metrics"
        _until(lambda: f"covenant_consumer_effects_total{labels} 30.0" in httpx.get(url).text, deadline)
        page = httpx.get(url).text
    for name in ("redeliveries_total", "duplicates_total"):
        assert f"covenant_consumer_{name}{labels} 0.0" in page
    assert f"covenant_consumer_lag_events{labels}" in page


def _until_moved(position: Callable[[], int], end: int, deadline: float) -> None:
    before = position()
    _until(lambda: position() > before or position() == end, deadline)


def _until(condition: Callable[[], bool], deadline: float) -> None:
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def _process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    given = {variable(name): str(value) for name, value in vars(settings).items() if value is not None}
    command = [sys.executable, "-m", "system.events.consumers.analytics"]
    with subprocess.Popen(command, env={**os.environ, **given}) as process:
        try:
            yield process
        finally:
            process.kill()

"""The process of a regional consumer is killed again and again: each event takes effect once."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
import redis
from nats.js.errors import NotFoundError

from system.domain.frames import EncodedEvent
from system.events import bus
from system.events.publish import publish
from system.events.streams import ensure_dead_letters, ensure_stream
from system.process import DependencyState
from system.settings import Settings, variable
from system.store.valkey.consumer_state import keys_of
from system.store.valkey.event_feed import encode
from system.tests.servers import eventually
from system.tests.streaming import DEADLINE_S, LOG, Past
from system.wire import DEAD_LETTERS, STREAMS
from system.wire.observer import feed_key

PARTITIONS = ["projects.0", "projects.1"]
KILLS = 6


@pytest.fixture
def past(database: Settings) -> Iterator[Past]:
    made = Past(database)
    yield made
    made.close()


def start(settings: Settings, module: str) -> subprocess.Popen[bytes]:
    values = {variable(name): str(value) for name, value in vars(settings).items() if value is not None}
    command = [sys.executable, "-m", f"system.events.consumers.{module}"]
    return subprocess.Popen(command, env={**os.environ, **values}, stderr=subprocess.DEVNULL)


def with_streams(settings: Settings, work: Callable[[object], Awaitable[None]]) -> None:
    async def run() -> None:
        client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
        js = client.jetstream()
        try:
            for name in [*(stream.name for stream in STREAMS), DEAD_LETTERS]:
                try:
                    await js.delete_stream(name)
                except NotFoundError:
                    continue
            for stream in STREAMS:
                await ensure_stream(js, stream, 1, settings.duplicate_window_s)
            await ensure_dead_letters(js, 1)
            await work(js)
        finally:
            await client.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("module", "consumer"),
    [("frontend_realtime", "frontend-realtime"), ("mobile_sync", "mobile-sync"),
     ("cache_invalidator", "cache-invalidator")],
)  # fmt: skip
def test_killed_at_any_moment_each_event_takes_effect_once(
    module: str, consumer: str, database: Settings, past: Past, nats_server: None,
    valkey_server: subprocess.Popen[bytes],
) -> None:  # fmt: skip
    settings = replace(database, ready_file=None)
    host, _, port = settings.valkey.partition(":")
    rng = random.Random(7)
    keys = keys_of(consumer)

    def applied(valkey: redis.Redis) -> int:
        return sum(int(value) for value in valkey.hvals(keys.positions))

    async def work(js: object) -> None:
        process = start(settings, module)
        try:
            for _ in range(KILLS):
                done = applied(valkey)
                for partition in PARTITIONS:
                    before = past.tail(partition)
                    past.happen(partition, rng.randrange(500, 1_500))
                    new = [
                        EncodedEvent(partition, one.position, one.event.id, encode(one.event))
                        for one in past.deliveries(partition, before)
                    ]
                    assert (await publish(js, new, 10)).failure is None  # type: ignore[arg-type]
                # By now the process has applied some events of this round; unacknowledged ones are redelivered.
                await eventually(lambda done=done: applied(valkey) > done)  # type: ignore[misc]
                await asyncio.sleep(rng.random() * 0.02)
                process.kill()
                process.wait(DEADLINE_S)
                process = start(settings, module)
            await eventually(lambda: applied(valkey) == sum(past.tail(name) for name in PARTITIONS))
        finally:
            process.kill()
            process.wait(DEADLINE_S)

    with redis.Redis(host, int(port), password=settings.valkey_password, decode_responses=True) as valkey:
        valkey.flushall()
        with_streams(settings, work)
        for partition in PARTITIONS:
            tail = past.tail(partition)
            assert int(valkey.hget(keys.effects, partition) or 0) == tail
            last = 0
            for text in valkey.lrange(f"{keys.trace}{partition}", 0, -1):
                first, _, end = text.partition("-")
                assert int(first) == last + 1
                last = int(end)
            assert last == tail
            if consumer == "frontend-realtime":
                entries = valkey.xrange(feed_key(partition))
                assert [entry for entry, _ in entries] == [f"{position}-0" for position in range(1, tail + 1)]

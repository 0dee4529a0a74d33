"""The cache on a real Valkey: no stale value is stored, and an unavailable cache is no error."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator

import pytest
import redis

from system.process import DependencyState
from system.settings import Settings
from system.store.valkey import client as valkey_client
from system.store.valkey.consumer_state import ConsumerState, Move
from system.store.valkey.totals_cache import INVALIDATE, INVALIDATOR, TOTALS, TotalsCache


@pytest.fixture
def valkey(valkey_server: subprocess.Popen[bytes], settings: Settings) -> Iterator[redis.Redis]:
    host, _, port = settings.valkey.partition(":")
    with redis.Redis(host, int(port), password=settings.valkey_password, decode_responses=True) as client:
        client.flushall()
        yield client


def use(settings: Settings, work: Callable[[TotalsCache, ConsumerState], Awaitable[None]], within_s: float = 5) -> None:
    async def run() -> None:
        cache = TotalsCache(valkey_client.connect(settings, within_s), DependencyState(logging.getLogger("test")))
        invalidator = ConsumerState(valkey_client.connect(settings, within_s), INVALIDATOR, INVALIDATE, [TOTALS])
        try:
            await work(cache, invalidator)
        finally:
            await cache.close()
            await invalidator.close()

    asyncio.run(run())


def to(partition: str, position: int) -> Move:
    return Move(partition=partition, before=None, after=position, ranges=[(1, position)])


def test_a_value_is_cached_until_an_event_deletes_it(valkey: redis.Redis, settings: Settings) -> None:
    async def work(cache: TotalsCache, invalidator: ConsumerState) -> None:
        assert await cache.get() is None
        await cache.fill(b"totals", {"projects.0": 4})
        assert await cache.get() == b"totals"
        assert await invalidator.apply([to("projects.0", 5)])
        assert await cache.get() is None

    use(settings, work)


@pytest.mark.parametrize(
    ("as_of", "taken"),
    [
        ({"projects.0": 5, "projects.1": 9}, True),
        ({"projects.0": 6, "projects.1": 10}, True),
        ({"projects.0": 4, "projects.1": 9}, False),
        ({"projects.0": 5, "projects.1": 8}, False),
        ({"projects.0": 5}, False),
    ],
)
def test_a_value_older_than_what_was_invalidated_is_refused(
    valkey: redis.Redis, settings: Settings, as_of: dict[str, int], taken: bool
) -> None:
    async def work(cache: TotalsCache, invalidator: ConsumerState) -> None:
        await invalidator.apply([to("projects.0", 5), to("projects.1", 9)])
        await cache.fill(b"totals", as_of)
        assert (await cache.get() == b"totals") is taken

    use(settings, work)


@pytest.mark.parametrize("partition", ["users.0", "incidents.3"])
def test_events_that_do_not_concern_the_totals_leave_them(
    valkey: redis.Redis, settings: Settings, partition: str
) -> None:
    async def work(cache: TotalsCache, invalidator: ConsumerState) -> None:
        await cache.fill(b"totals", {"projects.0": 4})
        await invalidator.apply([to(partition, 7)])
        assert await cache.get() == b"totals"
        await cache.fill(b"newer", {"projects.0": 5})
        assert await cache.get() == b"newer"

    use(settings, work)


def test_a_value_does_not_outlive_a_minute(valkey: redis.Redis, settings: Settings) -> None:
    async def work(cache: TotalsCache, _: ConsumerState) -> None:
        await cache.fill(b"totals", {})

    use(settings, work)
    assert 0 < int(valkey.ttl(TOTALS)) <= 60


def test_concurrent_requests_cost_one_command(valkey: redis.Redis, settings: Settings) -> None:
    valkey.set(TOTALS, "totals")

    async def work(cache: TotalsCache, _: ConsumerState) -> None:
        assert await asyncio.gather(*(cache.get() for _ in range(100))) == [b"totals"] * 100

    valkey.config_resetstat()
    use(settings, work)
    assert valkey.info("commandstats")["cmdstat_get"]["calls"] == 1


def test_a_frozen_cache_is_no_error_and_is_not_used_for_a_second(
    valkey: redis.Redis, valkey_server: subprocess.Popen[bytes], settings: Settings
) -> None:
    valkey.set(TOTALS, "totals")

    async def work(cache: TotalsCache, _: ConsumerState) -> None:
        assert await cache.get() == b"totals"
        valkey_server.send_signal(signal.SIGSTOP)
        try:
            assert await cache.get() is None
        finally:
            valkey_server.send_signal(signal.SIGCONT)
        # Valkey answers again, but the cache does not ask it for a second.
        assert await cache.get() is None

    use(settings, work, within_s=0.2)

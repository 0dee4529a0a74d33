"""The cache on a real Valkey: no stale value comes back, and a cache that is away is no error."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator

import pytest
import redis

from system.process import Surroundings
from system.settings import Settings
from system.store import totals_cache
from system.store.totals_cache import EFFECTS, POSITIONS, TOTALS, TRACE, Invalidator, TotalsCache


@pytest.fixture
def valkey(valkey_server: subprocess.Popen[bytes], settings: Settings) -> Iterator[redis.Redis]:
    host, _, port = settings.valkey.partition(":")
    with redis.Redis(host, int(port), password=settings.valkey_password, decode_responses=True) as client:
        client.flushall()
        yield client


def use(settings: Settings, work: Callable[[TotalsCache, Invalidator], Awaitable[None]], within_s: float = 5) -> None:
    async def run() -> None:
        cache = TotalsCache(totals_cache.connect(settings, within_s), Surroundings(logging.getLogger("test")))
        invalidator = Invalidator(totals_cache.connect(settings, within_s))
        try:
            await work(cache, invalidator)
        finally:
            await cache.close()
            await invalidator.close()

    asyncio.run(run())


def test_a_value_is_cached_until_an_event_deletes_it(valkey: redis.Redis, settings: Settings) -> None:
    async def work(cache: TotalsCache, invalidator: Invalidator) -> None:
        assert await cache.get() is None
        await cache.fill(b"totals", {"projects.0": 4})
        assert await cache.get() == b"totals"
        assert await invalidator.invalidate([("projects.0", None, 5, 1, [(5, 5)])])
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
    async def work(cache: TotalsCache, invalidator: Invalidator) -> None:
        await invalidator.invalidate([("projects.0", None, 5, 5, [(1, 5)]), ("projects.1", None, 9, 9, [(1, 9)])])
        await cache.fill(b"totals", as_of)
        assert (await cache.get() == b"totals") is taken

    use(settings, work)


def test_a_position_that_is_not_what_it_was_stops_the_whole_batch(valkey: redis.Redis, settings: Settings) -> None:
    async def work(cache: TotalsCache, invalidator: Invalidator) -> None:
        assert await invalidator.invalidate([("projects.0", None, 5, 1, [(5, 5)])])
        await cache.fill(b"totals", {"projects.0": 9, "projects.1": 9})
        moves: list[tuple[str, int | None, int, int, list[tuple[int, int]]]] = [
            ("projects.1", None, 1, 1, [(1, 1)]),
            ("projects.0", 4, 6, 1, [(6, 6)]),
        ]
        assert not await invalidator.invalidate(moves)
        assert await invalidator.positions() == {"projects.0": 5}
        assert await cache.get() == b"totals"

    use(settings, work)


def test_what_was_applied_is_counted_and_traced(valkey: redis.Redis, settings: Settings) -> None:
    async def work(_: TotalsCache, invalidator: Invalidator) -> None:
        await invalidator.invalidate([("projects.0", None, 7, 3, [(3, 3), (6, 7)])])
        await invalidator.invalidate([("projects.0", 7, 8, 1, [(8, 8)])])

    use(settings, work)
    assert valkey.hgetall(POSITIONS) == {"projects.0": "8"}
    assert valkey.hgetall(EFFECTS) == {"projects.0": "4"}
    assert valkey.lrange(f"{TRACE}projects.0", 0, -1) == ["3-3", "6-7", "8-8"]


def test_a_value_does_not_outlive_a_minute(valkey: redis.Redis, settings: Settings) -> None:
    async def work(cache: TotalsCache, _: Invalidator) -> None:
        await cache.fill(b"totals", {})

    use(settings, work)
    assert 0 < int(valkey.ttl(TOTALS)) <= 60  # type: ignore[arg-type]


def test_a_frozen_cache_is_no_error_and_then_left_alone(
    valkey: redis.Redis, valkey_server: subprocess.Popen[bytes], settings: Settings
) -> None:
    valkey.set(TOTALS, "totals")

    async def work(cache: TotalsCache, _: Invalidator) -> None:
        assert await cache.get() == b"totals"
        valkey_server.send_signal(signal.SIGSTOP)
        try:
            assert await cache.get() is None
        finally:
            valkey_server.send_signal(signal.SIGCONT)
        # It answers again, but is not asked for a second.
        assert await cache.get() is None

    use(settings, work, within_s=0.2)

"""Effects on a real Valkey: each event is applied once, whatever happens between script and answer."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from typing import ClassVar

import pytest
import redis

from system.events.consumers.cache_invalidator import CacheInvalidation
from system.events.consumers.frontend_realtime import RealtimeFeed
from system.events.consumers.mobile_sync import WakeUp
from system.events.consuming import valkey as valkey_effect
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.valkey import ValkeyEffect
from system.settings import Settings
from system.store import positions
from system.store.session import Session, Unavailable
from system.store.valkey import client as valkey_client
from system.store.valkey import consumer_state, event_feed, wake_feed
from system.store.valkey.consumer_state import keys_of
from system.store.valkey.event_feed import encode
from system.tests.streaming import Past
from system.wire import PROJECTS_STREAM, Project, ProjectEvent
from system.wire.observer import feed_key


class Reported(ValkeyEffect):
    """Counts applied events in a key of its own."""

    consumer: ClassVar[str] = "counting"
    commands: ClassVar[str] = "redis.call('INCRBY', KEYS[2], #ARGV - 2)"
    own_keys: ClassVar[tuple[str, ...]] = ("count",)

    def arguments(self, events: object) -> list[bytes | str]:
        return ["x"] * len(events)  # type: ignore[arg-type]


class FromTheStart(ValkeyEffect):
    """Needs no database: it never reported a position."""

    async def origins(self, partitions: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(partitions, 0)


class Counting(FromTheStart, Reported):
    """An effect that needs no database."""


class Feed(FromTheStart, RealtimeFeed):
    """An effect that needs no database."""


class WakeUps(FromTheStart, WakeUp):
    """An effect that needs no database."""


class Invalidation(FromTheStart, CacheInvalidation):
    """An effect that needs no database."""


KEYS = keys_of("counting")


@pytest.fixture
def valkey(valkey_server: subprocess.Popen[bytes], settings: Settings) -> Iterator[redis.Redis]:
    host, _, port = settings.valkey.partition(":")
    with redis.Redis(host, int(port), password=settings.valkey_password, decode_responses=True) as client:
        client.flushall()
        yield client


def event(position: int, partition: str = "projects.0") -> ProjectEvent:
    project = Project(
        id="p", name="P", region="ams", country_code="FRA", sector="Energy", status="Active",
        funding_usd_millions=Decimal("1.50"), version=position,
    )  # fmt: skip
    return ProjectEvent(
        id=f"{partition}:{position}", type="updated", aggregate="projects", aggregate_id="p", partition=partition,
        position=position, region="ams", occurred_at="2026-01-01T00:00:00Z", before=project, after=project,
    )  # fmt: skip


def batch(*positions: int, partition: str = "projects.0") -> Batch:
    return {partition: [Delivery(event(position, partition), None) for position in positions]}


def use(effect: type[ValkeyEffect], settings: Settings, work: Callable[[ValkeyEffect], Awaitable[None]]) -> None:
    async def run() -> None:
        applied = effect(settings, PROJECTS_STREAM)
        try:
            await work(applied)
        finally:
            await applied.close()

    asyncio.run(run())


def state(valkey: redis.Redis, partition: str = "projects.0") -> tuple[str | None, str | None, list[str]]:
    return (
        valkey.hget(KEYS.positions, partition),
        valkey.hget(KEYS.effects, partition),
        valkey.lrange(f"{KEYS.trace}{partition}", 0, -1),
    )  # type: ignore[return-value]


def test_a_redelivered_event_is_applied_once_and_a_gap_waits(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        admission = (await effect.apply(batch(1, 2)))["projects.0"]
        assert [one.position for one in admission.applicable] == [1, 2]
        admission = (await effect.apply(batch(2, 3, 5)))["projects.0"]
        assert [one.position for one in admission.duplicates] == [2]
        assert [one.position for one in admission.applicable] == [3]
        assert [one.position for one in admission.held] == [5]
        await effect.apply(batch(1, 2, 3))
        assert await effect.positions() == {"projects.0": 3}

    use(Counting, settings, work)
    assert state(valkey) == ("3", "3", ["1-2", "3-3"])
    assert valkey.get("count") == "3"


def test_positions_that_follow_are_not_read_again(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        for position in (1, 2, 3):
            await effect.apply(batch(position))
        await effect.apply(batch(3, 4))  # Begins with a repeat.
        await effect.apply(batch(5, 7))

    valkey.config_resetstat()
    use(Counting, settings, work)
    assert state(valkey) == ("5", "5", ["1-1", "2-2", "3-3", "4-4", "5-5"])
    assert valkey.info("commandstats")["cmdstat_hgetall"]["calls"] == 2


def test_a_valkey_that_is_emptied_between_two_batches_is_noticed(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        await effect.apply(batch(1))
        valkey.flushall()
        [held] = (await effect.apply(batch(2)))["projects.0"].held
        assert held.position == 2
        await effect.apply(batch(1, 2))

    use(Counting, settings, work)
    assert state(valkey) == ("2", "2", ["1-2"])


def test_an_instance_with_stale_positions_changes_nothing(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        await effect.apply(batch(1))
        believed = await effect.positions()
        await effect.apply(batch(2))

        async def outdated() -> object:
            return believed

        effect.positions = outdated  # type: ignore[method-assign, assignment]
        with pytest.raises(Unavailable, match="another instance moved a position"):
            await effect.apply({**batch(2), **batch(1, partition="projects.1")})

    use(Counting, settings, work)
    assert state(valkey) == ("2", "2", ["1-1", "2-2"])
    assert state(valkey, "projects.1") == (None, None, [])
    assert valkey.get("count") == "2"


def test_a_lost_answer_doubles_no_effect(
    valkey: redis.Redis, valkey_server: subprocess.Popen[bytes], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey_effect, "_ANSWER_WITHIN_S", 0.3)

    async def work(effect: ValkeyEffect) -> None:
        await effect.apply(batch(1))
        with monkeypatch.context() as frozen:
            frozen.setattr(effect, "positions", known({"projects.0": 1}))
            valkey_server.send_signal(signal.SIGSTOP)
            try:
                # Valkey runs the script when it goes on; the consumer gets no answer.
                with pytest.raises(Unavailable):
                    await effect.apply(batch(2, 3))
            finally:
                valkey_server.send_signal(signal.SIGCONT)
        admission = (await effect.apply(batch(2, 3, 4)))["projects.0"]
        assert [one.position for one in admission.duplicates] == [2, 3]

    use(Counting, settings, work)
    assert state(valkey) == ("4", "4", ["1-1", "2-3", "4-4"])
    assert valkey.get("count") == "4"


def known(positions: dict[str, int]) -> Callable[[], Awaitable[dict[str, int]]]:
    async def answer() -> dict[str, int]:
        return positions

    return answer


def test_an_emptied_valkey_continues_from_the_last_report(valkey: redis.Redis, database: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        session = Session(database, "test")
        # Emptied twice: right after the first events, and later.
        await effect.apply(batch(1, 2))
        await session.run(lambda link: positions.report(link, "counting-ams", {"projects.0": 2}))
        valkey.flushall()
        admission = (await effect.apply(batch(3)))["projects.0"]
        assert [one.position for one in admission.applicable] == [3]
        await session.run(lambda link: positions.report(link, "counting-ams", {"projects.0": 3}))
        session.close()
        await effect.apply(batch(4, 5))
        valkey.flushall()
        # Number 4 was acknowledged before; the runner would read it from the outbox after 6 has waited long enough.
        admission = (await effect.apply(batch(6)))["projects.0"]
        assert (admission.held[0].position, admission.next_position) == (6, 4)
        admission = (await effect.apply(batch(6, 5, 4)))["projects.0"]
        assert [one.position for one in admission.applicable] == [4, 5, 6]

    use(Reported, database, work)
    assert state(valkey) == ("6", "3", ["4-6"])


def test_the_first_delivery_need_not_be_the_first_event(valkey: redis.Redis, database: Settings) -> None:
    """A process got 1 and 2 and died; the next one gets 3 before 1 and 2 are redelivered."""

    async def work(effect: ValkeyEffect) -> None:
        admission = (await effect.apply(batch(3)))["projects.0"]
        assert [one.position for one in admission.held] == [3]
        await effect.skip("projects.0", 3, "not the next one")
        admission = (await effect.apply(batch(1, 2, 3)))["projects.0"]
        assert [one.position for one in admission.applicable] == [1, 2, 3]

    use(Reported, database, work)
    assert state(valkey) == ("3", "3", ["1-3"])


def test_a_new_consumer_begins_with_the_oldest_event(valkey: redis.Redis, database: Settings) -> None:
    past = Past(database)
    past.happen("projects.0", 9)
    past.forget_before("projects.0", 5)
    past.close()

    async def work(effect: ValkeyEffect) -> None:
        admission = (await effect.apply(batch(5, 6)))["projects.0"]
        assert [one.position for one in admission.applicable] == [5, 6]

    use(Reported, database, work)
    assert state(valkey) == ("6", "2", ["5-6"])


def test_a_skipped_position_takes_effect_once_when_it_is_replayed(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        await effect.apply(batch(1))
        await effect.skip("projects.0", 2, "as the test wants it")
        await effect.skip("projects.0", 2, "again")
        await effect.skip("projects.0", 4, "not the next one")
        await effect.apply(batch(3))
        assert valkey.smembers(f"{KEYS.skipped}projects.0") == {"2"}
        for times in (1, 0):
            admission = (await effect.apply(batch(2)))["projects.0"]
            assert len(admission.applicable) == times
        await effect.apply(batch(4))

    use(Counting, settings, work)
    assert state(valkey) == ("4", "4", ["1-1", "3-3", "2-2", "4-4"])
    assert valkey.smembers(f"{KEYS.skipped}projects.0") == set()


def test_a_large_batch_is_applied_in_portions(
    valkey: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey_effect, "_PORTION", 10)

    async def work(effect: ValkeyEffect) -> None:
        await effect.apply({**batch(*range(1, 36)), **batch(*range(1, 8), partition="projects.1")})

    use(Counting, settings, work)
    assert state(valkey) == ("35", "35", ["1-10", "11-20", "21-30", "31-35"])
    assert state(valkey, "projects.1") == ("7", "7", ["1-7"])
    assert valkey.get("count") == "42"


def test_the_trace_keeps_the_last_ranges(
    valkey: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_state, "TRACE_LENGTH_MAX", 2)

    async def work(effect: ValkeyEffect) -> None:
        for position in (1, 2, 3):
            await effect.apply(batch(position))

    use(Counting, settings, work)
    assert state(valkey)[2] == ["2-2", "3-3"]


def test_the_feed_holds_the_events_in_order(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        await effect.apply(batch(1, 2))
        await effect.skip("projects.0", 3, "as the test wants it")
        await effect.apply(batch(4))
        await effect.apply(batch(3))
        await effect.apply(batch(4, 5))

    use(Feed, settings, work)
    # Number 3 cannot be inserted before 4; subscribers get it from the outbox.
    expected = [(f"{position}-0", {"event": encode(event(position)).decode()}) for position in (1, 2, 4, 5)]
    assert valkey.xrange(feed_key("projects.0")) == expected
    assert '"funding_usd_millions":1.50' in expected[0][1]["event"]


def test_the_feed_is_read_from_a_position_on(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        await effect.apply({**batch(1, 2, 3), **batch(1, partition="projects.1")})
        client = valkey_client.connect(settings, 5)
        found = await event_feed.read_feed(client, {"projects.0": 1, "projects.1": 1, "projects.2": 0}, 10, 0)
        assert found == {"projects.0": [(position, encode(event(position))) for position in (2, 3)]}
        assert await event_feed.read_feed(client, {"projects.1": 1}, 10, 0.01) == {}
        await client.aclose()

    use(Feed, settings, work)


def test_the_feed_is_capped(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        for first in range(1, 12_001, 500):
            await effect.apply(batch(*range(first, first + 500)))

    use(Feed, settings, work)
    assert event_feed.LENGTH_MAX <= int(valkey.xlen(feed_key("projects.0"))) < event_feed.LENGTH_MAX + 500


def test_the_wake_up_feed_has_positions_and_notices(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        client = valkey_client.connect(settings, 5)
        async with client.pubsub() as channel:
            await channel.subscribe(wake_feed.CHANGED)
            await channel.get_message(timeout=5)
            await effect.apply({**batch(1, 2), **batch(1, partition="projects.1")})
            notice = await channel.get_message(timeout=5)
        assert wake_feed.moved(notice["data"]) == {"projects.0": 2, "projects.1": 1}
        assert await wake_feed.read_positions(client) == {"projects.0": 2, "projects.1": 1}
        await client.aclose()

    use(WakeUps, settings, work)


def test_consumers_of_a_region_do_not_share_anything(valkey: redis.Redis, settings: Settings) -> None:
    async def work(effect: ValkeyEffect) -> None:
        await effect.apply(batch(1))

    for effect in (Invalidation, Feed, WakeUps):
        use(effect, settings, work)
        assert valkey.hgetall(keys_of(effect.consumer).positions) == {"projects.0": "1"}
        assert valkey.hgetall(keys_of(effect.consumer).effects) == {"projects.0": "1"}


def test_a_cancellation_that_redis_py_swallows_is_raised_again() -> None:
    async def command() -> str:
        """Swallows a cancellation, as asyncio.wait_for does before Python 3.12 if its result is there already."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "answer"
        raise AssertionError("unreachable")

    async def run() -> None:
        task = asyncio.create_task(valkey_client.answer(command()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())

"""Dead letters: after the consumer was fixed a replay applies the event once, however often it is replayed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import pytest
import redis
from nats.aio.client import Client

from system import settings
from system.domain.frames import EncodedEvent
from system.events.consumers.analytics import Analytics
from system.events.consumers.cache_invalidator import CacheInvalidation
from system.events.consumers.tests.test_analytics_kills import BROKEN, CELL, creations, on_streams
from system.events.consuming import dead_letters
from system.events.consuming.dead_letters import Stored, replay
from system.events.consuming.effect import Effect
from system.events.consuming.runner import Consumer
from system.events.cursors import ensure_cursor
from system.events.publish import publish
from system.process import DependencyState
from system.settings import Settings
from system.store.valkey.consumer_state import keys_of
from system.wire import PROJECTS_STREAM, Event, observer

LOG = logging.getLogger("test")
DEADLINE_S = 60.0
SKIPPED = "select partition, position from consumer_skipped"


class CannotApply(Analytics):
    """Fails for one position, because of a bug that is then fixed."""

    async def effects(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        if any(event.position == 3 for event in events):
            raise KeyError("as the test wants it")
        await super().effects(connection, events)


@pytest.fixture
def servers(nats_server: None, database: Settings) -> Settings:
    return database


async def consume(
    settings: Settings, client: Client, name: str, effect: Effect, events: Sequence[EncodedEvent]
) -> None:
    """Run the consumer until it has moved past these events."""
    await publish(client.jetstream(), events, 10)
    consumer = Consumer(name, PROJECTS_STREAM, effect, settings, client, DependencyState(LOG), LOG)
    consuming = asyncio.create_task(consumer.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while (await effect.positions()).get(events[-1].partition, 0) < events[-1].position:
                await asyncio.sleep(0.02)
    finally:
        consuming.cancel()
        await asyncio.wait({consuming})


async def letters(client: Client, consumer: str | None = None) -> list[Stored]:
    return [one async for one in dead_letters.stored(client, consumer)]


def test_a_fixed_consumer_applies_a_replay_once(servers: Settings, ask: Callable[[str], list[tuple[Any, ...]]]) -> None:
    [(projects, _)] = ask(CELL)

    async def work(client: Client) -> None:
        effect = CannotApply(servers, PROJECTS_STREAM)
        await consume(servers, client, "analytics", effect, creations("projects.0", 1, 5))
        assert ask(SKIPPED) == [("projects.0", 3)]
        [one] = await letters(client, "analytics")
        assert await letters(client, "audit-logger") == []
        assert "analytics COVENANT_PROJECTS projects.0 3-3" in str(one)
        assert str(one).endswith("KeyError: 'as the test wants it'")
        assert await replay(client, servers, one) is None
        assert await letters(client) == []
        # As a concurrent replay would.
        assert await replay(client, servers, one) is None

    on_streams(servers, work)
    assert [row[0] for row in ask(CELL)] == [projects + 5]
    assert ask(BROKEN) == [(0,)]
    assert ask(SKIPPED) == []


def test_a_letter_whose_replay_fails_stays(servers: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "effect_of", lambda _: CannotApply)

    async def work(client: Client) -> None:
        effect = CannotApply(servers, PROJECTS_STREAM)
        await consume(servers, client, "analytics", effect, creations("projects.0", 1, 5))
        [one] = await letters(client)
        assert await replay(client, servers, one) == "it fails still: KeyError: 'as the test wants it'"
        assert await letters(client) == [one]

    on_streams(servers, work)


def test_a_regional_consumer_is_replayed_in_its_region(servers: Settings, valkey_server: object) -> None:
    async def work(client: Client) -> None:
        effect = CacheInvalidation(servers, PROJECTS_STREAM)
        broken = creations("projects.0", 1, 5)
        broken[2] = broken[2]._replace(data=b'{"id": 3}')
        await consume(servers, client, "cache-invalidator-ams", effect, broken)
        [one] = await letters(client)
        elsewhere = Settings(**{**vars(servers), "region": "syd"})
        assert await replay(client, elsewhere, one) == "its effects are in ams: replay it there"
        reason = await replay(client, servers, one)
        assert reason is not None
        assert reason.startswith("its events cannot be read")
        # The outbox has the event as it was written.
        await _into_outbox(servers, 3)
        assert await replay(client, servers, one) is None
        assert await letters(client) == []

    host, _, port = servers.valkey.partition(":")
    with redis.Redis(host, int(port), password=servers.valkey_password, decode_responses=True) as valkey:
        valkey.flushall()
        on_streams(servers, work)
        trace = valkey.lrange(f"{keys_of('cache-invalidator').trace}projects.0", 0, -1)
        assert sorted(trace) == ["1-2", "3-3", "4-5"]


def test_a_letter_without_positions_cannot_be_replayed(servers: Settings) -> None:
    async def work(client: Client) -> None:
        effect = Analytics(servers, PROJECTS_STREAM)
        await ensure_cursor(client.jetstream(), PROJECTS_STREAM, "analytics", effect.positions, LOG)
        await client.jetstream().publish("covenant.projects.events.9", b"nonsense")
        await consume(servers, client, "analytics", effect, creations("projects.0", 1, 1))
        [one] = await letters(client)
        assert await replay(client, servers, one) == "it has no positions, so there is nothing to apply"

    on_streams(servers, work)


@pytest.mark.parametrize("name", [declared.name for declared in observer.CONSUMERS])
def test_every_consumer_can_be_replayed(name: str, settings: Settings) -> None:
    async def run() -> None:
        effect = dead_letters.effect_of(name)(settings, PROJECTS_STREAM)
        assert getattr(effect, "consumer") == name  # noqa: B009 - Effect does not promise it.
        await effect.close()

    asyncio.run(run())


async def _into_outbox(settings: Settings, position: int) -> None:
    """An event of a deletion at this position of projects.0."""
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=int(settings.replica.partition(":")[2]),
        user="covenant_owner",
        database=settings.database,
    )
    try:
        await connection.execute(
            """with made as (
                insert into outbox (aggregate, aggregate_id, partition, region, type, before)
                select 'projects', id::text, 'projects.0', region, 'deleted', to_jsonb(p) from projects p limit 1
                returning id
            ) insert into outbox_position select id, 'projects.0', $1 from made""",
            position,
        )
    finally:
        await connection.close()


def test_the_command_lists_and_replays(
    servers: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: Client) -> None:
        effect = CannotApply(servers, PROJECTS_STREAM)
        await consume(servers, client, "analytics", effect, creations("projects.0", 1, 5))

    on_streams(servers, work)
    monkeypatch.setattr(settings, "load", lambda: servers)
    assert dead_letters.main(["list"]) == 0
    assert "projects.0 3-3" in capsys.readouterr().out
    assert dead_letters.main(["replay", "--consumer", "audit-logger"]) == 0
    assert capsys.readouterr().out == ""
    assert dead_letters.main(["replay", "--consumer", "analytics"]) == 0
    assert capsys.readouterr().out == "1 analytics: applied, and removed\n"
    assert dead_letters.main(["list"]) == 0
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        dead_letters.main(["forget"])

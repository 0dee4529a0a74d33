"""The consumers' core on a real NATS server: commit before acknowledgement, failures, order, gaps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from system.events import bus
from system.events.consumers import guard, runner
from system.events.consumers.guard import Admission
from system.events.consumers.runner import Batch, Consumer, Delivery
from system.events.publish import publish
from system.events.streams import ensure_durable, ensure_stream
from system.process import Surroundings
from system.settings import Settings
from system.store.session import Unavailable
from system.wire import PROJECTS_STREAM, ProjectEvent

NAME = PROJECTS_STREAM.name
LOG = logging.getLogger("test")
DEADLINE_S = 60.0


class Memory:
    """An effect that keeps what it applied, in the order in which it did, once `open` is set."""

    def __init__(self, failures: int = 0) -> None:
        self.applied: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self._failures = failures

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        await self.open.wait()
        if self._failures:
            self._failures -= 1
            raise Unavailable("as the test wants it")
        admissions = {name: guard.admit(len(self.applied), arrived) for name, arrived in batch.items()}
        for admission in admissions.values():
            self.applied += [one.position for one in admission.applicable]
        return admissions

    async def close(self) -> None:
        """Nothing to close."""


def event(position: int) -> ProjectEvent:
    return ProjectEvent(
        id=str(position), type="updated", aggregate="projects", aggregate_id="p", partition="projects.0",
        position=position, region="ams", occurred_at="2026-01-01T00:00:00Z", before=None, after=None,
    )  # fmt: skip


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.02)


def consume(settings: Settings, make: Callable[[], Memory], work: Callable[[Client, Memory], Awaitable[None]]) -> None:
    """Run `work` beside a consumer with this effect, on a new stream that holds what `work` publishes."""

    async def run() -> None:
        surroundings = Surroundings(LOG)
        client = await bus.connect(settings, "test", surroundings, LOG)
        js = client.jetstream()
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(NAME)
        await ensure_stream(js, PROJECTS_STREAM, 1)
        await ensure_durable(js, PROJECTS_STREAM, "test")
        memory = make()
        consumer = Consumer("test", PROJECTS_STREAM, memory, client, surroundings, LOG)
        consuming = asyncio.create_task(consumer.run())
        try:
            await work(client, memory)
        finally:
            consuming.cancel()
            await asyncio.wait({consuming})
            await client.close()

    asyncio.run(run())


@pytest.fixture
def nats(nats_server: None, settings: Settings) -> Settings:
    return settings


async def acknowledged(client: Client) -> int:
    floor = (await client.jetstream().consumer_info(NAME, "test")).ack_floor
    return floor.stream_seq if floor else 0


async def delivered(client: Client) -> int:
    last = (await client.jetstream().consumer_info(NAME, "test")).delivered
    return last.stream_seq if last else 0


def test_nothing_is_acknowledged_before_its_effect_is_there(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        memory.open.clear()
        await publish(client.jetstream(), [event(1), event(2), event(3)], 10)
        await eventually(lambda: _is(delivered(client), 3))
        assert await acknowledged(client) == 0
        assert memory.applied == []
        memory.open.set()
        await eventually(lambda: _is(acknowledged(client), 3))
        assert memory.applied == [1, 2, 3]

    consume(nats, Memory, work)


def test_an_effect_that_fails_is_tried_again_until_it_is_there(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        await publish(client.jetstream(), [event(1), event(2)], 10)
        await eventually(lambda: _is(acknowledged(client), 2))
        assert memory.applied == [1, 2]

    consume(nats, lambda: Memory(failures=3), work)


def test_events_that_are_stored_out_of_order_are_applied_in_order(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        for position in (1, 4, 3, 2):
            await publish(client.jetstream(), [event(position)], 10)
        await eventually(lambda: _is(acknowledged(client), 4))
        assert memory.applied == [1, 2, 3, 4]

    consume(nats, Memory, work)


def test_what_is_never_delivered_again_is_read_from_the_stream(nats: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_GAP_PATIENCE_S", 0.0)

    async def work(client: Client, memory: Memory) -> None:
        await publish(client.jetstream(), [event(1), event(2), event(3)], 10)
        await eventually(lambda: _is(acknowledged(client), 3))
        # As after a failover that forgot two commits, whose messages were acknowledged.
        del memory.applied[1:]
        await publish(client.jetstream(), [event(4)], 10)
        await eventually(lambda: _is(acknowledged(client), 4))
        assert memory.applied == [1, 2, 3, 4]

    consume(nats, Memory, work)


def test_a_message_that_is_no_event_stops_its_partition_and_is_never_acknowledged(
    nats: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(client: Client, memory: Memory) -> None:
        js = client.jetstream()
        await publish(js, [event(1)], 10)
        await js.publish("covenant.projects.events.ams.0", b"{}")
        await publish(js, [event(3)], 10)
        await eventually(lambda: _is(delivered(client), 3))
        await eventually(lambda: _said(caplog, "message 2 is no event"))
        await eventually(lambda: _is(acknowledged(client), 1))
        assert memory.applied == [1]

    consume(nats, Memory, work)


async def _is(value: Awaitable[int], expected: int) -> bool:
    return await value == expected


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text

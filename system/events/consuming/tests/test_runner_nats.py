"""The loop of consumers on a real NATS server: commit before acknowledgement, failures, order, gaps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Set

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from system.domain.frames import EncodedEvent
from system.events import bus
from system.events.consuming import dead_letters, guard, runner
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.guard import Admission
from system.events.consuming.runner import Consumer
from system.events.publish import publish
from system.events.streams import ensure_dead_letters, ensure_stream
from system.process import DependencyState
from system.settings import Settings
from system.store.connect import connect_primary
from system.store.session import Unavailable
from system.wire import DEAD_LETTERS, PROJECTS_STREAM, DeadLetter, ProjectEvent, event_subject

NAME = PROJECTS_STREAM.name
LOG = logging.getLogger("test")
DEADLINE_S = 60.0


class Memory:
    """An effect that records what it applied, in order, once `open` is set."""

    gather_s = 0.0

    def __init__(self, failures: int = 0, poison: Set[int] = frozenset()) -> None:
        self.applied: list[int] = []
        self.position = 0
        self.skipped: set[int] = set()
        self.poison = poison
        self.open = asyncio.Event()
        self.open.set()
        self._failures = failures

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        await self.open.wait()
        if self._failures:
            self._failures -= 1
            raise Unavailable("as the test wants it")
        admissions = {name: guard.admit(self.position, arrived, self.skipped) for name, arrived in batch.items()}
        for admission in admissions.values():
            positions = [one.position for one in admission.applicable]
            if bad := self.poison & set(positions):
                raise ZeroDivisionError(f"cannot apply {bad}")
            self.applied += positions
            self.position = max([self.position, *positions])
            self.skipped -= set(positions)
        return admissions

    async def skip(self, partition: str, position: int, reason: str) -> None:
        if position == self.position + 1:
            self.position = position
            self.skipped.add(position)

    async def positions(self) -> Mapping[str, int]:
        return {"projects.0": self.position}

    async def close(self) -> None:
        """Nothing to close."""


def event(position: int) -> EncodedEvent:
    made = ProjectEvent(
        id=str(position), type="updated", aggregate="projects", aggregate_id="p", partition="projects.0",
        position=position, region="ams", occurred_at="2026-01-01T00:00:00Z", before=None, after=None,
    )  # fmt: skip
    return EncodedEvent(made.partition, position, made.id, msgspec.json.encode(made))


async def publish_singly(client: Client, *positions: int) -> None:
    """Each in a message of its own."""
    for position in positions:
        assert (await publish(client.jetstream(), [event(position)], 10)).failure is None


async def publish_together(client: Client, *positions: int) -> None:
    assert (await publish(client.jetstream(), [event(position) for position in positions], 10)).failure is None


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.02)


def consume(settings: Settings, make: Callable[[], Memory], work: Callable[[Client, Memory], Awaitable[None]]) -> None:
    """Run `work` beside a consumer with this effect, on a new stream that holds what `work` publishes."""

    async def run() -> None:
        dependencies = DependencyState(LOG)
        client = await bus.connect(settings, "test", dependencies, LOG)
        js = client.jetstream()
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(NAME)
        await ensure_stream(js, PROJECTS_STREAM, 1)
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(DEAD_LETTERS)
        memory = make()
        consumer = Consumer("test", PROJECTS_STREAM, memory, settings, client, dependencies, LOG)
        consuming = asyncio.create_task(consumer.run())
        try:
            await asyncio.wait_for(consumer.consuming.wait(), DEADLINE_S)
            await work(client, memory)
        finally:
            consuming.cancel()
            await asyncio.wait({consuming})
            await client.close()

    asyncio.run(run())


@pytest.fixture(params=[0.0, 0.05])
def nats(
    nats_server: None, settings: Settings, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Settings:
    """For effects that wait for no others, and for those that do."""
    monkeypatch.setattr(Memory, "gather_s", request.param)
    return settings


async def acknowledged(client: Client) -> int:
    with contextlib.suppress(NotFoundError):  # The stream was wiped, and the durable not yet recreated.
        floor = (await client.jetstream().consumer_info(NAME, "test")).ack_floor
        return floor.stream_seq if floor else 0
    return 0


async def delivered(client: Client) -> int:
    last = (await client.jetstream().consumer_info(NAME, "test")).delivered
    return last.stream_seq if last else 0


def test_no_message_is_acknowledged_before_its_effect_is_committed(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        memory.open.clear()
        await publish_singly(client, 1, 2, 3)
        await eventually(lambda: _is(_some(delivered(client)), True))
        assert await acknowledged(client) == 0
        assert memory.applied == []
        memory.open.set()
        await eventually(lambda: _is(acknowledged(client), 3))
        assert memory.applied == [1, 2, 3]

    consume(nats, Memory, work)


def test_acknowledgements_that_wait_for_others_are_sent_at_the_end(
    nats: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_ACK_TOGETHER_S", 10 * DEADLINE_S)

    async def publish_two(client: Client, memory: Memory) -> None:
        await publish_singly(client, 1, 2)
        await eventually(lambda: _is(_count(memory.applied), 2))
        assert await acknowledged(client) == 0

    async def look(settings: Settings) -> None:
        client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
        await eventually(lambda: _is(acknowledged(client), 2))
        await client.close()

    consume(nats, Memory, publish_two)
    asyncio.run(look(nats))


def test_many_acknowledgements_wait_for_no_others(nats: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_ACK_TOGETHER_S", 10 * DEADLINE_S)

    async def work(client: Client, memory: Memory) -> None:
        await publish_singly(client, *range(1, 51))
        await eventually(lambda: _is(acknowledged(client), 50))

    consume(nats, Memory, work)


async def _some(count: Awaitable[int]) -> bool:
    return await count > 0


async def _count(applied: list[int]) -> int:
    return len(applied)


def test_an_effect_that_fails_is_retried_until_it_succeeds(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        await publish_singly(client, 1, 2)
        await eventually(lambda: _is(acknowledged(client), 2))
        assert memory.applied == [1, 2]

    consume(nats, lambda: Memory(failures=3), work)


def test_events_that_are_stored_out_of_order_are_applied_in_order(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        await publish_singly(client, 1, 4, 3, 2)
        await eventually(lambda: _is(acknowledged(client), 4))
        assert memory.applied == [1, 2, 3, 4]

    consume(nats, Memory, work)


def test_events_that_never_return_are_read_from_the_stream(nats: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_GAP_PATIENCE_S", 0.0)

    async def work(client: Client, memory: Memory) -> None:
        await publish_together(client, 1, 2, 3)
        await eventually(lambda: _is(acknowledged(client), 1))
        # As after a failover that lost two commits whose message was acknowledged.
        del memory.applied[1:]
        memory.position = 1
        await publish_singly(client, 4)
        await eventually(lambda: _is(acknowledged(client), 2))
        assert memory.applied == [1, 2, 3, 4]

    consume(nats, Memory, work)


def test_a_message_is_acknowledged_when_all_of_it_is_applied(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        await publish_singly(client, 1)
        await publish_together(client, 3, 4, 5)
        await publish_together(client, 1, 2, 3)
        await eventually(lambda: _is(acknowledged(client), 3))
        assert memory.applied == [1, 2, 3, 4, 5]

    consume(nats, Memory, work)


def test_events_that_the_stream_lost_are_read_from_the_outbox(
    database: Settings, nats: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_GAP_PATIENCE_S", 0.0)

    async def work(client: Client, memory: Memory) -> None:
        _, connection = await connect_primary(nats, "test")
        insert = """with made as (
                insert into outbox (aggregate, aggregate_id, partition, region, type)
                select 'projects', 'p', 'projects.0', 'ams', 'deleted' from generate_series(1, 4500) returning id
            ) insert into outbox_position select id, 'projects.0', row_number() over (order by id) from made"""
        await connection.execute(insert)
        connection.terminate()
        await publish_singly(client, 4501)
        await eventually(lambda: _is(acknowledged(client), 1))
        assert memory.applied == list(range(1, 4502))

    consume(nats, Memory, work)


def test_an_event_that_cannot_be_applied_is_a_dead_letter_and_delays_no_other(
    nats: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: Client, memory: Memory) -> None:
        await publish_together(client, 1, 2, 3, 4)
        await publish_singly(client, 5)
        await eventually(lambda: _is(acknowledged(client), 2))
        assert memory.applied == [1, 2, 4]
        assert memory.skipped == {3, 5}
        first, second = await letters(client)
        assert (first.consumer, first.region, first.stream) == ("test", "ams", NAME)
        assert (first.partition, first.first, first.last, first.sequence) == ("projects.0", 3, 3, 1)
        assert first.reason == "ZeroDivisionError: cannot apply {3}"
        assert (first.payload, second.payload) == (event(3).data, event(5).data)

    consume(nats, lambda: Memory(poison={3, 5}), work)


def test_a_dead_letter_is_stored_before_its_position_is_skipped(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        js = client.jetstream()
        await ensure_dead_letters(js, 1)
        full = (await js.stream_info(DEAD_LETTERS)).config
        await js.update_stream(full.evolve(max_msg_size=1))
        await publish_together(client, 1, 2)
        await eventually(lambda: _is(attempts(memory), True))
        assert memory.position == 1
        await js.update_stream(full)
        await eventually(lambda: _is(acknowledged(client), 1))
        assert (memory.position, len(await letters(client))) == (2, 1)

    async def attempts(memory: Memory) -> bool:
        return memory.position == 1

    consume(nats, lambda: Memory(poison={2}), work)


def test_an_event_that_cannot_be_decoded_is_a_dead_letter_in_its_turn(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        broken = event(3)._replace(data=b'{"id": 3}')
        await publish(client.jetstream(), [event(2), broken, event(4)], 10)
        await eventually(lambda: _is(delivered(client), 1))
        assert (memory.applied, memory.skipped) == ([], set())
        await publish_singly(client, 1)
        await eventually(lambda: _is(acknowledged(client), 2))
        assert (memory.applied, memory.skipped) == ([1, 2, 4], {3})
        [letter] = await letters(client)
        assert (letter.first, letter.last, letter.payload) == (3, 3, broken.data)

    consume(nats, Memory, work)


def test_a_message_that_cannot_be_decoded_is_skipped_with_all_its_positions(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        subject = event_subject("projects.0")
        await publish_singly(client, 1)
        await client.jetstream().publish(subject, b"nonsense", headers={"Covenant-Positions": "2-4"})
        await publish_singly(client, 5)
        await eventually(lambda: _is(acknowledged(client), 3))
        assert (memory.applied, memory.skipped) == ([1, 5], {2, 3, 4})
        [letter] = await letters(client)
        assert (letter.first, letter.last, letter.sequence, letter.payload) == (2, 4, 2, b"nonsense")

    consume(nats, Memory, work)


def test_a_message_that_the_relay_did_not_publish_is_a_dead_letter_once(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        await client.jetstream().publish("covenant.projects.events.ams.0", b"{}")
        await publish_singly(client, 1)
        await eventually(lambda: _is(acknowledged(client), 2))
        [letter] = await letters(client)
        assert (letter.partition, letter.first, letter.payload) == ("unknown", None, b"{}")
        assert memory.applied == [1]

    consume(nats, Memory, work)


def test_a_stream_that_was_wiped_is_consumed_from_its_start(nats: Settings) -> None:
    async def work(client: Client, memory: Memory) -> None:
        js = client.jetstream()
        await publish_singly(client, 1, 2, 3, 4, 5)
        await eventually(lambda: _is(acknowledged(client), 5))
        await js.delete_stream(NAME)
        await ensure_stream(js, PROJECTS_STREAM, 1)
        # Sequences begin again, and known events are delivered again.
        await publish_together(client, 4, 5, 6)
        await eventually(lambda: _is(acknowledged(client), 1))
        assert memory.applied == [1, 2, 3, 4, 5, 6]

    consume(nats, Memory, work)


async def letters(client: Client) -> list[DeadLetter]:
    return [one.letter async for one in dead_letters.stored(client, None)]


async def _is(value: Awaitable[object], expected: object) -> bool:
    return await value == expected

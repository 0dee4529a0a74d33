"""Pull requests on a real NATS server: what arrives between two calls, alone and together, few and many, small and
large."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from system.events import bus
from system.events.consuming.pull import Puller
from system.events.consuming.tests.test_runner_nats import DEADLINE_S, LOG, NAME
from system.events.streams import durable_config, ensure_stream
from system.process import DependencyState
from system.settings import Settings
from system.wire import PROJECTS_STREAM, event_subject

BATCH_MAX = 25
LARGE = 3 * 1024 * 1024


@pytest.fixture
def nats(nats_server: None, settings: Settings) -> Settings:
    return settings


def pull(settings: Settings, work: Callable[[Client, Puller], Awaitable[None]], *, together: bool) -> None:
    """Run `work` with a puller of a new durable of a new stream."""

    async def run() -> None:
        client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
        js = client.jetstream()
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(NAME)
        await ensure_stream(js, PROJECTS_STREAM, 1)
        await js.add_consumer(NAME, durable_config(PROJECTS_STREAM, "test"))
        try:
            puller = Puller(client, NAME, "test", BATCH_MAX, together=together)
            async with asyncio.timeout(DEADLINE_S), puller:
                await work(client, puller)
        finally:
            await client.close()

    asyncio.run(run())


async def publish(client: Client, *texts: str, size: int = 0) -> None:
    for text in texts:
        await client.jetstream(timeout=10).publish(event_subject("projects.0"), text.encode().ljust(size))


def texts(messages: list[Msg]) -> list[str]:
    return [one.data.decode().strip() for one in messages]


def test_what_comes_between_two_calls_stays_at_the_server_and_comes_together(nats: Settings) -> None:
    async def work(client: Client, puller: Puller) -> None:
        first = asyncio.create_task(puller.take())
        await publish(client, "1")
        assert texts(await first) == ["1"]
        await publish(client, "2", "3", "4")
        info = await client.jetstream().consumer_info(NAME, "test")
        assert (info.num_pending, info.num_ack_pending) == (3, 1)
        assert texts(await puller.take()) == ["2", "3", "4"]
        # With nothing at the server it waits for the next one.
        later = asyncio.create_task(puller.take())
        await asyncio.wait({later}, timeout=0.3)
        assert not later.done()
        await publish(client, "5")
        assert texts(await later) == ["5"]

    pull(nats, work, together=True)


@pytest.mark.parametrize("together", [True, False])
def test_many_and_large_messages_all_arrive_in_order(nats: Settings, together: bool) -> None:
    async def work(client: Client, puller: Puller) -> None:
        expected = [str(number) for number in range(60)]
        await publish(client, *expected)
        await publish(client, "large", "larger", size=LARGE)
        await publish(client, "last")
        found: list[str] = []
        while len(found) < 63:
            found += texts(await puller.take())
        assert found == [*expected, "large", "larger", "last"]

    pull(nats, work, together=together)


@pytest.mark.parametrize("together", [True, False])
def test_a_message_that_is_given_back_comes_again(nats: Settings, together: bool) -> None:
    async def work(client: Client, puller: Puller) -> None:
        await publish(client, "1", "2")
        found: list[Msg] = []
        while len(found) < 2:
            found += await puller.take()
        await found[0].nak(delay=0.1)
        assert texts(await puller.take()) == ["1"]

    pull(nats, work, together=together)

"""`python -m system.events.promote`: make this region the active one, then end. An operator runs it when the active
region is lost or hands over. The database must accept writes already.

The steps, in an order that never lets two relays work at once:

1. All leases end; from then on only this region's relay can take them.
2. The region's mirrors become streams, which accept publishes.
3. Messages beyond the database's positions are removed: the database may have lost its last commits, and their
   positions will be assigned again.

Consumers create their durables themselves, at their own positions. The relay then publishes what the streams lack: it
sees that they are not the streams that it confirmed. If the bus is stretched over several regions its streams stay as
they are. Running this twice does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from functools import partial

import asyncpg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamConfig
from nats.js.errors import NotFoundError

from system import process
from system.events import bus, streams
from system.events.cursors import positions_in
from system.process import DependencyState, retry
from system.settings import Settings
from system.store import outbox
from system.store.session import Session, Unavailable
from system.wire import STREAMS, Stream, event_subject, partitions_of

_DEADLINE_S = 90.0
_ANSWER_WITHIN_S = 5.0


async def promote_stream(js: JetStreamContext, config: StreamConfig) -> None:
    """Turn a mirror into a stream. Does nothing to a stream."""
    assert config.name is not None
    if (await js.stream_info(config.name)).config.mirror is not None:
        await js.update_stream(config)


async def cut_back(js: JetStreamContext, stream: Stream, heads: Mapping[str, int]) -> int:
    """Remove messages with positions beyond the database's (`heads`: partition -> position). Returns how many. A
    message's events got their positions in one transaction, so the database has all of them or none."""
    removed = 0
    for partition in partitions_of(stream.aggregate):
        while (last := await _last(js, stream, partition)) and positions_in(last)[1] > heads.get(partition, 0):
            await js.delete_msg(stream.name, last.seq or 0)
            removed += 1
    return removed


async def _last(js: JetStreamContext, stream: Stream, partition: str) -> RawStreamMsg | None:
    try:
        return await js.get_last_msg(stream.name, event_subject(partition))
    except NotFoundError:
        return None


async def _main(settings: Settings, log: logging.Logger) -> None:
    dependencies = DependencyState(log)
    async with asyncio.timeout(_DEADLINE_S):
        heads = await _activate(settings, dependencies)
        client = await bus.connect(settings, "promote", dependencies, log)
        try:
            js = client.jetstream(timeout=_ANSWER_WITHIN_S)
            await bus.retry_jetstream(
                dependencies, partial(promote_stream, js, streams.letters_config(settings.stream_replicas))
            )
            for stream in STREAMS:
                await bus.retry_jetstream(dependencies, partial(_take_over, js, stream, heads, settings, log))
        finally:
            await client.close()
    process.make_ready(settings.ready_file)


async def _activate(settings: Settings, dependencies: DependencyState) -> Mapping[str, int]:
    """Partition -> the last position that was assigned."""

    async def work(connection: asyncpg.Connection) -> Mapping[str, int]:
        await outbox.activate(connection, settings.region)
        return await outbox.heads(connection)

    session = Session(settings, "promote")
    try:
        return await retry(lambda: session.run(work), Unavailable, dependencies, "primary database")
    finally:
        session.close()


async def _take_over(
    js: JetStreamContext, stream: Stream, heads: Mapping[str, int], settings: Settings, log: logging.Logger
) -> None:
    config = streams.stream_config(stream, settings.stream_replicas, settings.duplicate_window_s)
    await promote_stream(js, config)
    removed = await cut_back(js, stream, heads)
    if removed:
        log.error("%s: the database has lost the events of %d messages, they were removed", stream.name, removed)


if __name__ == "__main__":
    sys.exit(process.run("promote", _main, once=True))

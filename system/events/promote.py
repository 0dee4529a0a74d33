"""`python -m system.events.promote`: make this region the active one, then end. For whoever operates the system, when
the region that was active is lost or hands over.

The database must take writes already. In this order, so that at no moment two relays work: the leases end and from
then on only this region's relay gets them; the mirrors that this region keeps become streams, which take publishes;
what the streams hold beyond the database is removed (the database may have lost its last commits, and their positions
will be given again); and every consumer gets its durable at the place in the stream from which anybody lacks anything,
since durables are not mirrored; those that run once a region make theirs themselves. What the streams lack the relay
publishes again: they are not those that its confirmations speak of.

Where the bus is stretched over several regions its streams stay what they are. Twice does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import asyncpg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamConfig
from nats.js.errors import NotFoundError

from system import process
from system.domain.partitions import partitions_of
from system.events import bus, streams
from system.events.cursors import first_lacking, is_cursor, positions_in
from system.process import DependencyState, retry
from system.settings import Settings
from system.store import outbox
from system.store.session import Session, Unavailable
from system.wire import STREAMS, Stream, event_subject

_DEADLINE_S = 90.0
_ANSWER_WITHIN_S = 5.0


class Known(NamedTuple):
    """What the database says."""

    heads: Mapping[str, int]
    """The last position of each partition."""
    applied: Mapping[str, int]
    """Up to where every consumer has applied it."""
    consumers: list[str]


async def promote_stream(js: JetStreamContext, config: StreamConfig) -> None:
    """Make a stream of a mirror; nothing happens to one that is a stream already."""
    assert config.name is not None
    if (await js.stream_info(config.name)).config.mirror is not None:
        await js.update_stream(config)


async def cut_back(js: JetStreamContext, stream: Stream, heads: Mapping[str, int]) -> int:
    """Remove what the stream holds of positions that the database has not given; how many messages that were. The
    events of a message got their positions in one transaction, so it knows all of them or none."""
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
        known = await _activate(settings, dependencies)
        client = await bus.connect(settings, "promote", dependencies, log)
        try:
            js = client.jetstream(timeout=_ANSWER_WITHIN_S)
            await bus.retry_jetstream(
                dependencies, partial(promote_stream, js, streams.letters_config(settings.stream_replicas))
            )
            for stream in STREAMS:
                await bus.retry_jetstream(dependencies, partial(_take_over, js, stream, known, settings, log))
        finally:
            await client.close()
    process.make_ready(settings.ready_file)


async def _activate(settings: Settings, dependencies: DependencyState) -> Known:
    async def work(connection: asyncpg.Connection) -> Known:
        await outbox.activate(connection, settings.region)
        return Known(
            await outbox.heads(connection), await outbox.lowest_applied(connection), await outbox.consumers(connection)
        )

    session = Session(settings, "promote")
    try:
        return await retry(lambda: session.run(work), Unavailable, dependencies, "primary database")
    finally:
        session.close()


async def _take_over(
    js: JetStreamContext, stream: Stream, known: Known, settings: Settings, log: logging.Logger
) -> None:
    config = streams.stream_config(stream, settings.stream_replicas, settings.duplicate_window_s)
    await promote_stream(js, config)
    removed = await cut_back(js, stream, known.heads)
    if removed:
        log.error("%s: the database has lost the events of %d messages, they were removed", stream.name, removed)
    start = await first_lacking(js, stream, known.applied)
    replicated = [consumer for consumer in known.consumers if not is_cursor(consumer)]
    log.warning("%s: %d consumers begin at %d", stream.name, len(replicated), start)
    for consumer in replicated:
        await streams.ensure_durable(js, stream, consumer, start)


if __name__ == "__main__":
    sys.exit(process.run("promote", _main, once=True))

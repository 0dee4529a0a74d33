"""`python -m system.events.streams`: create or update the streams of events and the stream of dead letters, then end.
Consumers create their durables themselves.

The duplicate window is longer than the longest failover plus the relay's retries. Within it a message that is published
again is not stored again; after it the consumers' guard drops the events.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial
from typing import NamedTuple

from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from system import process
from system.domain.frames import span
from system.events import bus
from system.process import DependencyState
from system.settings import Settings
from system.wire import (
    DEAD_LETTERS,
    DEAD_LETTERS_AGE_S,
    DEAD_LETTERS_MSGS_MAX,
    DEAD_LETTERS_SUBJECTS,
    POSITIONS_HEADER,
    STREAMS,
    Stream,
    event_subject,
    events_filter,
    partitions_of,
)

ACK_WAIT_S = 2.0
"""A message that is not acknowledged is delivered again after this."""
ACK_PENDING_MAX = 2_000
MESSAGE_SIZE_MAX = 8 * 1024 * 1024
_DUPLICATE_WINDOW_S = 600.0
_DEADLINE_S = 120.0


async def ensure_stream(
    js: JetStreamContext, stream: Stream, replicas: int, duplicate_window_s: float = _DUPLICATE_WINDOW_S
) -> None:
    """Create the stream, or update an existing one."""
    await _ensure(js, stream_config(stream, replicas, duplicate_window_s))


async def ensure_dead_letters(js: JetStreamContext, replicas: int, *, update: bool = True) -> None:
    """Create the stream of dead letters. An existing one is updated only with `update`, which needs the permission."""
    await _ensure(js, letters_config(replicas), update=update)


def stream_config(stream: Stream, replicas: int, duplicate_window_s: float = _DUPLICATE_WINDOW_S) -> StreamConfig:
    """The configuration of a stream of events."""
    return _COMMON.evolve(
        name=stream.name,
        subjects=stream.subjects,
        num_replicas=replicas,
        max_msgs=stream.max_msgs,
        max_age=stream.max_age_s,
        duplicate_window=duplicate_window_s,
        # A health probe replaces the previous one, so that probes do not push events out of the stream.
        allow_rollup_hdrs=True,
    )


def letters_config(replicas: int) -> StreamConfig:
    """The configuration of the stream of dead letters."""
    return _COMMON.evolve(
        name=DEAD_LETTERS,
        subjects=[DEAD_LETTERS_SUBJECTS],
        num_replicas=replicas,
        max_msgs=DEAD_LETTERS_MSGS_MAX,
        max_age=DEAD_LETTERS_AGE_S,
        duplicate_window=_DUPLICATE_WINDOW_S,
    )


_COMMON = StreamConfig(
    retention=RetentionPolicy.LIMITS, storage=StorageType.FILE, max_msg_size=MESSAGE_SIZE_MAX, allow_direct=True
)


async def _ensure(js: JetStreamContext, config: StreamConfig, *, update: bool = True) -> None:
    assert config.name is not None
    try:
        await js.stream_info(config.name)
    except NotFoundError:
        await js.add_stream(config)
    else:
        if update:
            await js.update_stream(config)


class StreamState(NamedTuple):
    """The state of a stream, from its leader."""

    created_at: str
    """Differs if the stream was wiped and recreated."""
    leader: str | None
    last_sequence: int
    """Lower than before if the stream lost its tail."""


async def stream_state(js: JetStreamContext, stream: Stream) -> StreamState:
    """The state of a stream now. NotFoundError if it does not exist."""
    info = await js.stream_info(stream.name)
    if info.created is None:
        raise Error(f"{stream.name}: the server does not tell when it was created")
    return StreamState(info.created.isoformat(), info.cluster.leader if info.cluster else None, info.state.last_seq)


async def last_positions(js: JetStreamContext, stream: Stream) -> dict[str, int]:
    """Partition -> the last position that the stream holds, 0 for none; without partitions whose last message has no
    positions. It asks the leader, since another replica may lag."""
    found: dict[str, int] = {}
    for partition in partitions_of(stream.aggregate):
        try:
            last = await js.get_last_msg(stream.name, event_subject(partition))
        except NotFoundError:
            found[partition] = 0
            continue
        if (positions := span((last.headers or {}).get(POSITIONS_HEADER))) is not None:
            found[partition] = positions[1]
    return found


def durable_config(stream: Stream, durable: str, start: int = 1) -> ConsumerConfig:
    """The configuration of a durable pull consumer of all events of a stream, from the sequence `start` on."""
    begin = ConsumerConfig()
    if start > 1:
        begin = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=start)
    return begin.evolve(
        durable_name=durable,
        filter_subject=events_filter(stream.aggregate),
        ack_wait=ACK_WAIT_S,
        max_deliver=-1,
        max_ack_pending=ACK_PENDING_MAX,
    )


async def _main(settings: Settings, log: logging.Logger) -> None:
    dependencies = DependencyState(log)
    async with asyncio.timeout(_DEADLINE_S):
        client = await bus.connect(settings, "streams", dependencies, log)
        try:
            await bus.retry_jetstream(dependencies, partial(_ensure_all, client.jetstream(timeout=5), settings))
        finally:
            await client.close()
    process.make_ready(settings.ready_file)


async def _ensure_all(js: JetStreamContext, settings: Settings) -> None:
    for stream in STREAMS:
        await ensure_stream(js, stream, settings.stream_replicas, settings.duplicate_window_s)
    await ensure_dead_letters(js, settings.stream_replicas)


if __name__ == "__main__":
    sys.exit(process.run("streams", _main, once=True))

"""`python -m system.events.streams`: create the streams of the wire, and the one for dead letters, or bring
existing ones up to date; then end. A consumer makes sure of its own durable when it starts.

The duplicate window is longer than the longest outage that a failover may take plus the time in which the
relay retries, so that within it a republished message is not stored twice; beyond it the consumers' guard is
what holds.
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
from system.domain.partitions import partitions_of
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
)

ACK_WAIT_S = 2.0
"""A message whose consumer died is delivered again after this."""
ACK_PENDING_MAX = 2_000
MESSAGE_SIZE_MAX = 8 * 1024 * 1024
_DUPLICATE_WINDOW_S = 600.0
_DEADLINE_S = 120.0


async def ensure_stream(
    js: JetStreamContext, stream: Stream, replicas: int, duplicate_window_s: float = _DUPLICATE_WINDOW_S
) -> None:
    """Create the stream, or update the one that is there."""
    await _ensure(js, stream_config(stream, replicas, duplicate_window_s))


async def ensure_dead_letters(js: JetStreamContext, replicas: int, *, update: bool = True) -> None:
    """Create the stream of dead letters, or update the one that is there (not without the right to)."""
    await _ensure(js, letters_config(replicas), update=update)


def stream_config(stream: Stream, replicas: int, duplicate_window_s: float = _DUPLICATE_WINDOW_S) -> StreamConfig:
    """What a stream of events is set to."""
    return _COMMON.evolve(
        name=stream.name,
        subjects=stream.subjects,
        num_replicas=replicas,
        max_msgs=stream.max_msgs,
        max_age=stream.max_age_s,
        duplicate_window=duplicate_window_s,
        # A health probe replaces the one before it, so that probes never push events out of the stream.
        allow_rollup_hdrs=True,
    )


def letters_config(replicas: int) -> StreamConfig:
    """What the stream of dead letters is set to."""
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


class Sight(NamedTuple):
    """What the leader of a stream says of it."""

    created_at: str
    """One that was wiped and made anew tells another instant."""
    leader: str | None
    last_sequence: int
    """It goes back when the stream loses its tail."""


async def look(js: JetStreamContext, stream: Stream) -> Sight:
    """What there is of a stream now. NotFoundError if there is none."""
    info = await js.stream_info(stream.name)
    if info.created is None:
        raise Error(f"{stream.name}: the server does not tell when it was created")
    return Sight(info.created.isoformat(), info.cluster.leader if info.cluster else None, info.state.last_seq)


async def last_positions(js: JetStreamContext, stream: Stream) -> dict[str, int]:
    """The last position that a stream holds of each partition, 0 if it holds none of it; without a partition whose
    last message does not tell. The leader is asked: another member may not have it all yet."""
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


async def ensure_durable(js: JetStreamContext, stream: Stream, durable: str, start: int = 1) -> None:
    """Create a pull consumer of all events of the stream, from the sequence `start` on; an existing one is kept. It
    has as many replicas as the stream; for one that has one, see `system.events.cursors`."""
    try:
        await js.consumer_info(stream.name, durable)
    except NotFoundError:
        await js.add_consumer(stream.name, durable_config(stream, durable, start))


def durable_config(stream: Stream, durable: str, start: int = 1) -> ConsumerConfig:
    """What a pull consumer of all events of a stream is set to, that begins with this sequence."""
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

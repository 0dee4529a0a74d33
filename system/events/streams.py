"""`python -m system.events.streams`: create the streams of the wire and the durable consumer of analytics, or
bring existing ones up to date; then end.

The duplicate window is longer than the longest outage that a failover may take plus the time in which the
relay retries, so that within it a republished event is not stored twice; beyond it the consumers' guard is
what holds. A consumer that runs once a region makes sure of its own durable when it starts.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from system import process
from system.events import bus
from system.process import Backoff, Surroundings
from system.settings import Settings
from system.wire import STREAMS, Stream, events_filter

ANALYTICS = "analytics"
ACK_WAIT_S = 2.0
"""An event whose consumer died is delivered again after this."""
ACK_PENDING_MAX = 2_000
MESSAGE_SIZE_MAX = 8 * 1024 * 1024
_DUPLICATE_WINDOW_S = 600.0
_DEADLINE_S = 120.0


def aggregate_of(stream: Stream) -> str:
    """`covenant.projects.>` carries the events of `projects`."""
    return stream.subjects[0].split(".")[1]


async def ensure_stream(js: JetStreamContext, stream: Stream, replicas: int) -> None:
    """Create the stream, or update the one that is there."""
    config = StreamConfig(
        name=stream.name,
        subjects=stream.subjects,
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_msgs=stream.max_msgs,
        max_age=stream.max_age_s,
        max_msg_size=MESSAGE_SIZE_MAX,
        duplicate_window=_DUPLICATE_WINDOW_S,
        allow_direct=True,
        # A health probe replaces the one before it, so that probes never push events out of the stream.
        allow_rollup_hdrs=True,
    )
    try:
        await js.stream_info(stream.name)
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)


async def ensure_durable(js: JetStreamContext, stream: Stream, durable: str) -> None:
    """Create a pull consumer of all events of the stream, from the first; an existing one is kept."""
    try:
        await js.consumer_info(stream.name, durable)
    except NotFoundError:
        await js.add_consumer(
            stream.name,
            ConsumerConfig(
                durable_name=durable,
                filter_subject=events_filter(aggregate_of(stream)),
                ack_wait=ACK_WAIT_S,
                max_deliver=-1,
                max_ack_pending=ACK_PENDING_MAX,
            ),
        )


async def _main(settings: Settings, log: logging.Logger) -> None:
    surroundings = Surroundings(log)
    async with asyncio.timeout(_DEADLINE_S):
        client = await bus.connect(settings, "streams", surroundings, log)
        try:
            await _ensure_all(client.jetstream(timeout=5), settings, surroundings)
        finally:
            await client.close()
    process.make_ready(settings.ready_file)


async def _ensure_all(js: JetStreamContext, settings: Settings, surroundings: Surroundings) -> None:
    backoff = Backoff()
    while True:
        try:
            for stream in STREAMS:
                await ensure_stream(js, stream, settings.stream_replicas)
                await ensure_durable(js, stream, ANALYTICS)
            return
        except (TimeoutError, Error) as error:
            # A cluster that has just started has no leader for some seconds yet.
            surroundings.away("JetStream", error)
            await backoff.wait()


if __name__ == "__main__":
    sys.exit(process.run("streams", _main, once=True))

"""The durables of consumers: mere read cursors, since a consumer's positions are stored with its effects.

Such a durable is kept in the memory of one node, which costs the bus a fraction of a replicated one, whose every
acknowledgement is a consensus write: three replicated ones took three brokers 4 ms of CPU an event. When the node is
lost, the durable is recreated on another one, at the stream sequence that follows from the consumer's positions.

A sequence that is too low only brings events that are applied already, and the guard drops them. One that is too high
leaves a gap, which is filled from the stream or the outbox. Neither loses or doubles an effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from nats.errors import TimeoutError as NoAnswerError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, RawStreamMsg
from nats.js.errors import NotFoundError

from system.domain.frames import span
from system.events.streams import ACK_PENDING_MAX, durable_config
from system.wire import POSITIONS_HEADER, Stream, event_subject, partitions_of

AT_ONCE = 15
"""Sequences that are probed at once, since every probe from another continent takes a round trip."""
_FAR_BEHIND = ACK_PENDING_MAX
"""So many messages may be delivered again before the durable is recreated further on."""

Positions = Callable[[], Awaitable[Mapping[str, int]]]


def positions_in(message: RawStreamMsg) -> tuple[int, int]:
    """(first, last) position in a message; (0, 0) if the relay did not publish it."""
    return span((message.headers or {}).get(POSITIONS_HEADER)) or (0, 0)


async def first_lacking(js: JetStreamContext, stream: Stream, applied: Mapping[str, int]) -> int:
    """The lowest stream sequence with events after these positions (`applied`: partition -> position); the sequence
    after the last message if there are none.

    Within a partition positions rise with the sequence, except where events were published again; those begin with what
    some consumer lacked at that time. So a binary search finds a sequence that is low enough.
    """
    state = (await js.stream_info(stream.name)).state
    ranges = [
        _search(js, event_subject(partition), stream.name, applied.get(partition, 0), state.first_seq, state.last_seq)
        for partition in partitions_of(stream.aggregate)
    ]
    return min(await asyncio.gather(*ranges))


async def ensure_cursor(
    js: JetStreamContext, stream: Stream, durable: str, positions: Positions, log: logging.Logger
) -> None:
    """Make sure that the durable exists and is not far behind what was applied; recreate it if it is, or if its node
    does not answer. An error of nats if the bus cannot do that now; Unavailable if `positions` raises it."""
    try:
        found = await js.consumer_info(stream.name, durable)
    except NotFoundError:
        start = await first_lacking(js, stream, await positions())
        await js.add_consumer(stream.name, _config(stream, durable, start))
        return
    except NoAnswerError:
        # If the stream does not answer either, this raises, since then nothing is known about the durable.
        await _recreate(js, stream, durable, await first_lacking(js, stream, await positions()))
        log.warning("%s: the durable %s did not answer; it was recreated", stream.name, durable)
        return
    if not found.config.mem_storage or (found.num_pending or 0) > _FAR_BEHIND:
        start = await first_lacking(js, stream, await positions())
        if not found.config.mem_storage or start - _delivered(found) > _FAR_BEHIND:
            await _recreate(js, stream, durable, start)
            log.warning("%s: the durable %s was recreated and begins at %d", stream.name, durable, start)


def _delivered(info: ConsumerInfo) -> int:
    return info.delivered.stream_seq if info.delivered else 0


async def _recreate(js: JetStreamContext, stream: Stream, durable: str, start: int) -> None:
    # Deleting a durable whose node is lost may get no answer. If it was not deleted, creating it fails and is retried.
    with contextlib.suppress(NotFoundError, NoAnswerError):
        await js.delete_consumer(stream.name, durable)
    await js.add_consumer(stream.name, _config(stream, durable, start))


def _config(stream: Stream, durable: str, start: int) -> ConsumerConfig:
    return durable_config(stream, durable, start).evolve(num_replicas=1, mem_storage=True)


async def _search(js: JetStreamContext, subject: str, stream: str, applied: int, first: int, last: int) -> int:
    """The sequence of the first message of a subject with events after a position; `last` + 1 if there is none."""
    low, high = max(1, first), last + 1
    while low < high:
        sequences = _spread(low, high)
        found = await asyncio.gather(*(_at_or_behind(js, stream, subject, sequence) for sequence in sequences))
        for sequence, message in zip(sequences, found, strict=True):
            if message is None or positions_in(message)[1] > applied:
                high = sequence
                break
            low = (message.seq or sequence) + 1
    message = await _at_or_behind(js, stream, subject, low)
    return (message.seq or low) if message else last + 1


def _spread(low: int, high: int) -> Sequence[int]:
    """At most AT_ONCE sequences in [low, high), in order, that divide it evenly."""
    step = -(-(high - low) // (AT_ONCE + 1))
    return range(low + step, high, step) if step > 1 else range(low, min(high, low + AT_ONCE))


async def _at_or_behind(js: JetStreamContext, stream: str, subject: str, seq: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(stream, seq=seq, subject=subject, next=True)
    except NotFoundError:
        return None

"""The durable of a consumer that runs once a region: nothing but a read cursor, for the positions stand beside its
effects. So it is kept in the memory of one node, which costs the bus a fraction of a replicated one: eighteen of those
would add forty writes of consensus to every event. When that node is lost the durable is made anew on another one, at
the place in the stream that the consumer's positions tell.

A place too early only brings what is applied already, and the guard drops it; one too late would leave a gap, which is
filled from the stream or the outbox. Neither loses or doubles an effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import get_args

from nats.errors import TimeoutError as NoAnswerError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, RawStreamMsg
from nats.js.errors import NotFoundError

from system.domain.frames import span
from system.events.streams import ACK_PENDING_MAX, durable_config
from system.wire import POSITIONS_HEADER, Region, Stream, event_subject, partitions_of

AT_ONCE = 15
"""Places in a stream that are looked at together: from another continent every look takes its round trip."""
_FAR_BEHIND = ACK_PENDING_MAX
"""Messages that may come again rather than be looked past."""

Positions = Callable[[], Awaitable[Mapping[str, int]]]


def is_cursor(durable: str) -> bool:
    """Whether a durable is one that its consumer makes itself: `mobile-sync-ams`."""
    return durable.rpartition("-")[2] in get_args(Region)


def positions_in(message: RawStreamMsg) -> tuple[int, int]:
    """(0, 0) for a message that is none of the relay's."""
    return span((message.headers or {}).get(POSITIONS_HEADER)) or (0, 0)


async def first_lacking(js: JetStreamContext, stream: Stream, applied: Mapping[str, int]) -> int:
    """From which stream sequence on everything lies that goes beyond these positions; the end if nothing does.

    In a partition positions only go up, but for what was published again, and whatever was published again reaches
    back to what some consumer lacked then. So it is found by narrowing down.
    """
    state = (await js.stream_info(stream.name)).state
    ranges = [
        _narrowed(js, event_subject(partition), stream.name, applied.get(partition, 0), state.first_seq, state.last_seq)
        for partition in partitions_of(stream.aggregate)
    ]
    return min(await asyncio.gather(*ranges))


async def ensure_cursor(
    js: JetStreamContext, stream: Stream, durable: str, positions: Positions, log: logging.Logger
) -> None:
    """See that the durable is there and not far behind what was applied; make it anew if not, or if nobody answers for
    it. An error of nats if that is not possible now, system.store.session.Unavailable if `positions` raises it."""
    try:
        found = await js.consumer_info(stream.name, durable)
    except NotFoundError:
        start = await first_lacking(js, stream, await positions())
        await js.add_consumer(stream.name, _config(stream, durable, start))
        return
    except NoAnswerError:
        # The stream has to answer, else nothing is known about the durable either.
        await _anew(js, stream, durable, await first_lacking(js, stream, await positions()))
        log.warning("%s: nobody answered for the durable %s; it was made anew", stream.name, durable)
        return
    if not found.config.mem_storage or (found.num_pending or 0) > _FAR_BEHIND:
        start = await first_lacking(js, stream, await positions())
        if not found.config.mem_storage or start - _reached(found) > _FAR_BEHIND:
            await _anew(js, stream, durable, start)
            log.warning("%s: the durable %s was made anew and begins at %d", stream.name, durable, start)


def _reached(info: ConsumerInfo) -> int:
    return info.delivered.stream_seq if info.delivered else 0


async def _anew(js: JetStreamContext, stream: Stream, durable: str, start: int) -> None:
    # A durable whose node is lost is removed without an answer; if it was not, creating it fails and comes again.
    with contextlib.suppress(NotFoundError, NoAnswerError):
        await js.delete_consumer(stream.name, durable)
    await js.add_consumer(stream.name, _config(stream, durable, start))


def _config(stream: Stream, durable: str, start: int) -> ConsumerConfig:
    return durable_config(stream, durable, start).evolve(num_replicas=1, mem_storage=True)


async def _narrowed(js: JetStreamContext, subject: str, stream: str, applied: int, first: int, last: int) -> int:
    """The sequence of the first message of a subject that goes beyond a position; `last` + 1 if none does."""
    low, high = max(1, first), last + 1
    while low < high:
        places = _spread(low, high)
        found = await asyncio.gather(*(_at_or_behind(js, stream, subject, place) for place in places))
        for place, message in zip(places, found, strict=True):
            if message is None or positions_in(message)[1] > applied:
                high = place
                break
            low = (message.seq or place) + 1
    message = await _at_or_behind(js, stream, subject, low)
    return (message.seq or low) if message else last + 1


def _spread(low: int, high: int) -> Sequence[int]:
    """At most AT_ONCE places of [low, high), in order, that part it evenly."""
    step = -(-(high - low) // (AT_ONCE + 1))
    return range(low + step, high, step) if step > 1 else range(low, min(high, low + AT_ONCE))


async def _at_or_behind(js: JetStreamContext, stream: str, subject: str, seq: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(stream, seq=seq, subject=subject, next=True)
    except NotFoundError:
        return None

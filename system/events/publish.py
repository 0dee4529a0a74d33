"""Publishing events to JetStream, in order, several messages at a time.

The message id tells which events the message holds: within the duplicate window the stream drops what it has
already. After the window, or when the events were framed anew, a repeat is stored again, and the consumers'
guard drops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import PubAck

from system.domain.frames import EncodedEvent, cut, payload
from system.wire import MESSAGE_ID_HEADER, POSITIONS_HEADER, event_subject

_IN_FLIGHT_MAX = 16
"""Messages, of at most half a megabyte, that may wait for their acknowledgement."""


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: up to which position each partition is in the stream, and why not further."""

    stored: dict[str, int]
    failure: str | None


def headers_of(events: Sequence[EncodedEvent], again: str = "") -> dict[str, str]:
    """The headers that a message with these events is published with; `again` makes its id another one."""
    first, last = events[0], events[-1]
    positions = f"{first.position}-{last.position}"
    return {MESSAGE_ID_HEADER: f"{first.partition}:{positions}:{first.id}{again}", POSITIONS_HEADER: positions}


async def publish(js: JetStreamContext, events: Iterable[EncodedEvent], within_s: float, again: str = "") -> Outcome:
    """Publish each partition's events in the order given and wait until all are acknowledged; never raises for
    the bus. Sent `again` (any text that was not used before), they are new to the stream."""
    frames = cut(events)
    waiting: list[asyncio.Future[PubAck]] = []
    failure: str | None = None
    try:
        async with asyncio.timeout(within_s):
            for number, frame in enumerate(frames):
                if number >= _IN_FLIGHT_MAX and not await _acknowledged(waiting[number - _IN_FLIGHT_MAX]):
                    break
                subject = event_subject(frame[0].partition)
                waiting.append(await js.publish_async(subject, payload(frame), headers=headers_of(frame, again)))
            if waiting:
                await asyncio.wait(waiting)
    except (Error, OSError) as error:
        failure = str(error) or f"no acknowledgement within {within_s} s"
    finally:
        for one in waiting:
            one.cancel()  # Gives its place in the library's window back; an answer that comes later is ignored.
    stored, refused = stored_prefix(zip(frames, waiting, strict=False))
    return Outcome(stored, failure or refused)


async def _acknowledged(answer: asyncio.Future[PubAck]) -> bool:
    await asyncio.wait([answer])
    return answer.exception() is None


def stored_prefix(
    answers: Iterable[tuple[Sequence[EncodedEvent], asyncio.Future[PubAck]]],
) -> tuple[dict[str, int], str | None]:
    """Up to which position each partition is stored, and the first refusal. Only what is stored without a hole
    before it counts: the rest is published again, in order."""
    stored: dict[str, int] = {}
    broken: set[str] = set()
    failure: str | None = None
    for frame, answer in answers:
        partition = frame[0].partition
        if answer.cancelled() or answer.exception() is not None:
            broken.add(partition)
            if not answer.cancelled():
                failure = failure or str(answer.exception())
        elif partition not in broken:
            stored[partition] = frame[-1].position
    return stored, failure

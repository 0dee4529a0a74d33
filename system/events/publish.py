"""Publishes events to JetStream in order, with several messages in flight.

The message id identifies the events in a message, so within the duplicate window the stream drops a message that it
has already. A repeat after the window, or with other frame boundaries, is stored again; then the consumers' guard drops
its events.
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
"""Messages in flight, each of at most half a megabyte."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a batch: partition -> the position up to which the stream has it, and the reason why not
    further."""

    stored: dict[str, int]
    failure: str | None


def headers_of(events: Sequence[EncodedEvent], again: str = "") -> dict[str, str]:
    """The headers of the message with these events. `again` is appended to the message id, which makes it a new one."""
    first, last = events[0], events[-1]
    positions = f"{first.position}-{last.position}"
    return {MESSAGE_ID_HEADER: f"{first.partition}:{positions}:{first.id}{again}", POSITIONS_HEADER: positions}


async def publish(js: JetStreamContext, events: Iterable[EncodedEvent], within_s: float, again: str = "") -> Outcome:
    """Publish each partition's events in the order given, and wait until all are acknowledged. Errors of the bus are in
    the outcome, not raised. `again`: a text that was not used before makes the stream store the events again."""
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
            one.cancel()  # Frees its place in nats-py's window of pending acknowledgements.
    stored, refused = stored_prefix(zip(frames, waiting, strict=False))
    return Outcome(stored, failure or refused)


async def _acknowledged(answer: asyncio.Future[PubAck]) -> bool:
    await asyncio.wait([answer])
    return answer.exception() is None


def stored_prefix(
    answers: Iterable[tuple[Sequence[EncodedEvent], asyncio.Future[PubAck]]],
) -> tuple[dict[str, int], str | None]:
    """Partition -> the position up to which all is stored, and the first error. A message after one that was not stored
    does not count: it is published again, to keep the order."""
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

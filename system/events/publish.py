"""Publishing events to JetStream, in order, many at a time.

The message id is the event's own: within the duplicate window the stream drops what it has already. After the
window a repeat is stored again, and the consumers' guard drops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import PubAck

from system.wire import EVENT_ID_HEADER, Event, event_subject

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: up to which position each partition is in the stream, and why not further."""

    stored: dict[str, int]
    failure: str | None


def headers_of(event: Event) -> dict[str, str]:
    """The headers that an event is published with."""
    return {EVENT_ID_HEADER: event.id}


async def publish(js: JetStreamContext, events: Sequence[Event], within_s: float) -> Outcome:
    """Publish in the order given and wait for the acknowledgement of each; never raises for the bus."""
    waiting: list[asyncio.Future[PubAck]] = []
    failure: str | None = None
    try:
        async with asyncio.timeout(within_s):
            for event in events:
                subject = event_subject(event.aggregate, event.region, event.partition)
                waiting.append(await js.publish_async(subject, _encode(event), headers=headers_of(event)))
            await asyncio.wait(waiting)
    except (Error, OSError) as error:
        failure = str(error) or f"no acknowledgement within {within_s} s"
    for one in waiting:
        one.cancel()  # Gives its place in the library's window back; an answer that comes later is ignored.
    stored, refused = stored_prefix(zip(events, waiting, strict=False))
    return Outcome(stored, failure or refused)


def stored_prefix(answers: Iterable[tuple[Event, asyncio.Future[PubAck]]]) -> tuple[dict[str, int], str | None]:
    """Up to which position each partition is stored, and the first refusal. Only what is stored without a hole
    before it counts: the rest is published again, in order."""
    stored: dict[str, int] = {}
    broken: set[str] = set()
    failure: str | None = None
    for event, answer in answers:
        if answer.cancelled() or answer.exception() is not None:
            broken.add(event.partition)
            if not answer.cancelled():
                failure = failure or str(answer.exception())
        elif event.partition not in broken:
            stored[event.partition] = event.position
    return stored, failure

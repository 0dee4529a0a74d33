"""Reading events again, for a gap that no redelivery fills.

It comes to that when the consumer's own store lost what it had acknowledged (a failover that forgot a commit):
the server then has no reason to deliver those events again. What is wanted mostly lies shortly before the message
that was held back, so the search starts there and reaches further back only if it has to. What the stream does not
hold any more, because of its limits or because it lost it, is in the outbox for as long as any consumer lacks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from system.domain.frames import Opener, part_of, span
from system.events.consuming.effect import Delivery
from system.events.consuming.pull import Puller
from system.store import outbox
from system.store.session import Session
from system.wire import POSITIONS_HEADER, Stream, event_subject

_REACHES = (20, 1_000, 30_000, 10**9)
MISSING_MAX = 2_000
_BATCH_MAX = 500
_WITHIN_S = 30.0
_INACTIVE_S = 10.0


async def read_missing(
    client: Client, stream: Stream, partition: str, first: int, held: tuple[int, int], opener: Opener,
    reader: str | None = None,
) -> list[Delivery]:  # fmt: skip
    """The events of a partition from position `first` to before the one that is held (its position and the
    sequence of its message), at most 2,000; fewer, or none, if the stream does not hold them any more.
    TimeoutError after 30 s, an error of nats if the stream cannot be read. `reader` as in `read_stream`."""
    wanted = set(range(first, min(held[0], first + MISSING_MAX)))
    found: dict[int, Delivery] = {}
    async with asyncio.timeout(_WITHIN_S):
        for reach in _REACHES:
            start = max(1, held[1] - reach)
            async with contextlib.aclosing(
                read_stream(client, stream.name, event_subject(partition), start, reader)
            ) as messages:
                async for message in messages:
                    _pick(message, wanted, opener, found)
                    if len(found) == len(wanted):
                        break
            if len(found) == len(wanted) or reach >= held[1]:
                break
    return [found[position] for position in sorted(found)]


async def read_outbox(session: Session, partition: str, first: int, held: int, opener: Opener) -> list[Delivery]:
    """The same out of the outbox. Unavailable if it cannot be read."""
    limit = min(held - first, MISSING_MAX)
    rows = await session.run(lambda connection: outbox.after(connection, partition, first - 1, limit))
    return [Delivery(opener.event(row.data), None, row.data) for row in rows]


async def read_stream(
    client: Client, stream: str, subjects: str, start: int, reader: str | None = None
) -> AsyncGenerator[Msg, None]:
    """The messages that a stream holds now on these subjects, from this sequence on. Close it when done
    (`contextlib.aclosing`). An error of nats or Refused if it cannot be read. `reader` is the name of the consumer
    that it takes, for who may make no other: then one at a time."""
    js = client.jetstream()
    if reader is not None:
        with contextlib.suppress(NotFoundError):
            await js.delete_consumer(stream, reader)  # One that was cut off stays for a while.
    info = await js.add_consumer(
        stream,
        ConsumerConfig(
            name=reader or f"reader-{secrets.token_hex(8)}",
            filter_subject=subjects,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_INACTIVE_S,
            mem_storage=True,
            num_replicas=1,
        ),
    )
    left = info.num_pending or 0
    try:
        async with Puller(client, stream, info.name, _BATCH_MAX) as puller:
            while left > 0:
                for message in await puller.take():
                    yield message
                    left = message.metadata.num_pending
    finally:
        await js.delete_consumer(stream, info.name)


def _pick(message: Msg, wanted: set[int], opener: Opener, found: dict[int, Delivery]) -> None:
    told = (message.headers or {}).get(POSITIONS_HEADER)
    positions = span(told)
    if positions is not None and wanted.isdisjoint(range(positions[0], positions[1] + 1)):
        return
    events = opener.open(message.subject, told, message.data).events
    for event in events:
        if event.position in wanted and event.position not in found:
            data = part_of(message.data, positions[0] if positions else events[0].position, event.position)
            found[event.position] = Delivery(event, None, data)

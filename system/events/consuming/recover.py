"""Reads missing events, for a gap that no redelivery fills.

Such a gap arises when the consumer's store loses acknowledged events (a failover that lost a commit): the server has no
reason to deliver those again. The missing events are mostly shortly before the message that is held back, so the search
starts there and goes further back only if it must. Events that the stream no longer holds are in the outbox as long as
any consumer lacks them.
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
    """The events of a partition from position `first` to before the one that is held back, at most MISSING_MAX; fewer
    or none if the stream does not hold them. `held`: its position and the stream sequence of its message. TimeoutError
    after 30 s, an error of nats if the stream cannot be read. `reader` as for `read_stream`."""
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
    """The events from position `first` to before `held`, at most MISSING_MAX, from the outbox. Unavailable if it cannot
    be read."""
    limit = min(held - first, MISSING_MAX)
    rows = await session.run(lambda connection: outbox.after(connection, partition, first - 1, limit))
    return [Delivery(opener.event(row.data), None, row.data) for row in rows]


async def read_stream(
    client: Client, stream: str, subjects: str, start: int, reader: str | None = None
) -> AsyncGenerator[Msg, None]:
    """The messages that a stream holds now on these subjects, from the sequence `start` on. Close the generator when
    done (`contextlib.aclosing`). An error of nats or Refused if the stream cannot be read. `reader` names the temporary
    consumer, for users that may create no other; then only one can read at a time."""
    js = client.jetstream()
    if reader is not None:
        with contextlib.suppress(NotFoundError):
            await js.delete_consumer(stream, reader)  # An interrupted reader leaves it for a while.
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
    header = (message.headers or {}).get(POSITIONS_HEADER)
    positions = span(header)
    if positions is not None and wanted.isdisjoint(range(positions[0], positions[1] + 1)):
        return
    events = opener.open(message.subject, header, message.data).events
    for event in events:
        if event.position in wanted and event.position not in found:
            data = part_of(message.data, positions[0] if positions else events[0].position, event.position)
            found[event.position] = Delivery(event, None, data)

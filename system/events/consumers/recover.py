"""Reading events again from the stream, for a gap that no redelivery fills.

It comes to that when the consumer's own store lost what it had acknowledged (a failover that forgot a commit):
the server then has no reason to deliver those events again. What is wanted mostly lies shortly before the event
that was held back, so the search starts there and reaches further back only if it has to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from system.events.consumers.pull import Puller
from system.wire import Event, Stream, event_subject

_REACHES = (1_000, 30_000, 10**9)
_MISSING_MAX = 2_000
_BATCH_MAX = 500
_WITHIN_S = 30.0
_INACTIVE_S = 10.0


async def read_missing(
    client: Client,
    stream: Stream,
    partition: str,
    first: int,
    held: tuple[int, int],
    decode: Callable[[bytes], Event],
) -> list[Event]:
    """The events of a partition from position `first` to before the one that is held (its position and its
    sequence in the stream), at most 2,000; fewer, or none, if the stream does not hold them any more.
    TimeoutError after 30 s, an error of nats if the stream cannot be read."""
    wanted = set(range(first, min(held[0], first + _MISSING_MAX)))
    found: dict[int, Event] = {}
    async with asyncio.timeout(_WITHIN_S):
        for reach in _REACHES:
            await _search(client, stream, partition, max(1, held[1] - reach), wanted, decode, found)
            if len(found) == len(wanted) or reach >= held[1]:
                break
    return [found[position] for position in sorted(found)]


async def _search(
    client: Client,
    stream: Stream,
    partition: str,
    start: int,
    wanted: set[int],
    decode: Callable[[bytes], Event],
    found: dict[int, Event],
) -> None:
    js = client.jetstream()
    info = await js.add_consumer(
        stream.name,
        ConsumerConfig(
            filter_subject=event_subject(partition.partition(".")[0], "*", partition),
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
        async with Puller(client, stream.name, info.name, _BATCH_MAX) as puller:
            while left > 0 and len(found) < len(wanted):
                for message in await puller.take():
                    event = decode(message.data)
                    if event.position in wanted:
                        found.setdefault(event.position, event)
                    left = message.metadata.num_pending
    finally:
        await js.delete_consumer(stream.name, info.name)

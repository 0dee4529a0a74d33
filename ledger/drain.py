"""Waiting until what was written has run through the system, so that what is missing afterwards is lost and not
just late: the relay has published it, every consumer in every region has applied it and acknowledged everything,
redeliveries included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import psycopg
import redis

from infra.target import Target
from ledger.observe import bus
from ledger.observe.consumers import Consumer, consumers, positions
from system import wire

_POLL_S = 0.2

_CUT = "select coalesce(max(id), 0) from outbox"
_HEADS = """
select o.partition, max(o.position), count(*) filter (where o.position is null or o.position > r.confirmed_position)
from outbox_events o join relay_partition r using (partition) where o.id <= %s group by o.partition
"""


def drain(target: Target, within_s: float, lost_region: str | None = None) -> str | None:
    """Wait until everything written up to now has been published, applied and acknowledged; not for the consumers of a
    region that was lost as a whole, whose cache began anew and says nothing of what came before.

    None when it has; else what was still missing after `within_s`, in words.
    """
    return asyncio.run(_drain(target, time.monotonic() + within_s, lost_region))


async def _drain(target: Target, deadline: float, lost_region: str | None) -> str | None:
    written = _Written()
    while True:
        try:
            async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                lacks = await _look(target, written, lost_region)
        except (psycopg.Error, redis.RedisError, bus.BusError, TimeoutError) as error:
            lacks = f"an answer ({error!r})"
        if lacks is None or time.monotonic() > deadline:
            return lacks
        await asyncio.sleep(_POLL_S)


class _Written:
    """What is waited for: the outbox up to the row `cut`, and once that is published the last position of each
    partition in it, which then is final."""

    cut: int | None = None
    heads: dict[str, int] | None = None


async def _look(target: Target, written: _Written, lost_region: str | None) -> str | None:
    """What is still missing; None for nothing."""
    if written.heads is None and (unpublished := await _unpublished(target, written)):
        return f"{unpublished} events to be published"
    for consumer in consumers(target.regions):
        if consumer.region is not None and consumer.region == lost_region:
            continue
        if lacks := behind(consumer, written.heads or {}, await asyncio.to_thread(positions, target, consumer)):
            return lacks
    return await _unacknowledged(target)


async def _unpublished(target: Target, written: _Written) -> int:
    """How many events the relay has not published."""
    async with await psycopg.AsyncConnection.connect(target.observer_dsn, autocommit=True) as link:
        if written.cut is None:
            row = await (await link.execute(_CUT)).fetchone()
            written.cut = int(row[0]) if row else 0
        rows = await (await link.execute(_HEADS, (written.cut,))).fetchall()
    unpublished = sum(int(waiting) for _, _, waiting in rows)
    if not unpublished:
        written.heads = {partition: int(head) for partition, head, _ in rows}
    return unpublished


def behind(consumer: Consumer, heads: Mapping[str, int], applied: Mapping[str, int]) -> str | None:
    """What a consumer has not applied, given the last position of each partition and its own; None for nothing."""
    left = {partition: head - applied.get(partition, 0) for partition, head in heads.items()}
    late = {partition: count for partition, count in left.items() if count > 0}
    return f"{sum(late.values())} events to be applied by {consumer} ({', '.join(sorted(late))})" if late else None


async def _unacknowledged(target: Target) -> str | None:
    async with bus.observer(target) as client:
        for stream in wire.STREAMS:
            last = await bus.last_frame(client, stream.name, wire.events_filter(stream.aggregate))
            for durable in await bus.durables(client, stream.name) if last is not None else ():
                state = await bus.consumer_state(client, stream.name, durable)
                # A durable that was made anew where a stream was promoted begins behind what it need not see.
                left = state.num_pending + state.num_ack_pending
                if last is not None and state.ack_floor.stream_seq < last.seq and left:
                    return f"{durable} to acknowledge {left} messages of {stream.name}"
    return None

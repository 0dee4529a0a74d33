"""Waiting until what was written has run through the system, so that what is missing afterwards is lost and not
just late: the relay has published it, every consumer in every region has applied it and acknowledged everything,
redeliveries included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import psycopg
import redis

from infra.target import Target
from ledger.coverage import lacking
from ledger.observe import bus
from ledger.observe.positions import DatabaseReader, PositionReader, RegionReader
from system import wire
from system.wire import observer
from system.wire.observer import ConsumerInstance

_POLL_S = 0.2

_NEWEST = f"select id from {observer.EVENTS} order by id desc limit 1"
_HEADS = f"""
select o.partition, max(o.position), count(*) filter (where o.position is null or o.position > r.confirmed_position)
from {observer.EVENTS} o join {observer.RELAY_POSITIONS} r using (partition) where o.id <= %s group by o.partition
"""


def drain(target: Target, within_s: float, lost_region: str | None = None) -> str | None:
    """Wait until everything written up to now has been published, applied and acknowledged; not for the consumers of a
    region that was lost as a whole, whose cache is a new one and says nothing of what came before.

    None when it has; else what was still missing after `within_s`, in words.
    """
    return asyncio.run(_drain(target, time.monotonic() + within_s, lost_region))


async def _drain(target: Target, deadline: float, lost_region: str | None) -> str | None:
    written = _Written()
    regions = [region for region in target.regions if region != lost_region]
    readers: list[PositionReader] = [DatabaseReader(target, wire.ALL_PARTITIONS)]
    readers += [RegionReader(target, region) for region in regions]
    try:
        while True:
            try:
                async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                    lacks = await _look(target, written, readers, observer.instances(regions))
            except (psycopg.Error, redis.RedisError, bus.BusError, OSError) as error:
                lacks = f"an answer ({error!r})"
                await _close(readers)
            if lacks is None or time.monotonic() > deadline:
                return lacks
            await asyncio.sleep(_POLL_S)
    finally:
        await _close(readers)


async def _close(readers: Sequence[PositionReader]) -> None:
    """A reader connects again when it is next used."""
    await asyncio.gather(*(reader.close() for reader in readers))


class _Written:
    """What is waited for: the outbox up to the row `cut`, and once that is published the last position of each
    partition in it, which then is final."""

    cut: int | None = None
    heads: dict[str, int] | None = None


async def _look(
    target: Target, written: _Written, readers: Sequence[PositionReader], instances: Sequence[ConsumerInstance]
) -> str | None:
    """What is still missing; None for nothing."""
    if written.heads is None and (unpublished := await _unpublished(target, written)):
        return f"{unpublished} events to be published"
    positions: dict[ConsumerInstance, Mapping[str, int]] = {}
    for found in await asyncio.gather(*(reader.look() for reader in readers)):
        positions.update(found.of)
    for instance in instances:
        if lacks := behind(instance, written.heads or {}, positions.get(instance, {})):
            return lacks
    return await _unacknowledged(target)


async def _unpublished(target: Target, written: _Written) -> int:
    """How many events the relay has not published."""
    async with await psycopg.AsyncConnection.connect(target.observer_dsn, autocommit=True) as link:
        if written.cut is None:
            row = await (await link.execute(_NEWEST)).fetchone()
            written.cut = int(row[0]) if row else 0
        rows = await (await link.execute(_HEADS, (written.cut,))).fetchall()
    unpublished = sum(int(waiting) for _, _, waiting in rows)
    if not unpublished:
        written.heads = {partition: int(head) for partition, head, _ in rows}
    return unpublished


def behind(instance: ConsumerInstance, heads: Mapping[str, int], positions: Mapping[str, int]) -> str | None:
    """What a consumer has not applied, given the last position of each partition and its own; None for nothing."""
    late = lacking(heads, positions)
    return f"{sum(late.values())} events to be applied by {instance} ({', '.join(sorted(late))})" if late else None


async def _unacknowledged(target: Target) -> str | None:
    async with bus.observer(target) as client:
        for stream in wire.STREAMS:
            last = await bus.last_frame(client, stream.name, wire.events_filter(stream.aggregate))
            for durable in await bus.durables(client, stream.name) if last is not None else ():
                state = await bus.consumer_state(client, stream.name, durable)
                # A durable that was made again where a stream was promoted begins behind what it need not see.
                left = state.num_pending + state.num_ack_pending
                if last is not None and state.ack_floor.stream_seq < last.seq and left:
                    return f"{durable} to acknowledge {left} messages of {stream.name}"
    return None

"""Waiting until what was written has run through the system, so that what is missing afterwards is lost and not
just late: the relay has published it, analytics has applied it, every consumer has acknowledged everything,
redeliveries included.
"""

from __future__ import annotations

import asyncio
import time

import psycopg

from chaos import bus
from chaos.instants import EVENTS, STREAM
from infra.target import Target

_POLL_S = 0.2

_CUT = "select coalesce(max(id), 0) from outbox"
_BEHIND = """
select count(*) filter (where o.position is null or o.position > r.confirmed_position),
       count(*) filter (where o.position is null or o.position > c.position)
from outbox o join relay_partition r using (partition) join consumer_position c using (partition)
where o.aggregate = 'projects' and c.consumer = 'analytics' and o.id <= %s
"""


def drain(target: Target, within_s: float) -> str | None:
    """Wait until everything written up to now has been published, applied and acknowledged.

    None when it has; else what was still missing after `within_s`, in words.
    """
    return asyncio.run(_drain(target, time.monotonic() + within_s))


async def _drain(target: Target, deadline: float) -> str | None:
    cut: int | None = None
    while True:
        try:
            async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                cut, lacks = await _look(target, cut)
        except (psycopg.Error, bus.BusError, TimeoutError) as error:
            lacks = f"an answer ({error!r})"
        if lacks is None or time.monotonic() > deadline:
            return lacks
        await asyncio.sleep(_POLL_S)


async def _look(target: Target, cut: int | None) -> tuple[int, str | None]:
    """(the outbox row up to which is waited for, what is still missing of it)."""
    async with await psycopg.AsyncConnection.connect(target.observer_dsn, autocommit=True) as link:
        if cut is None:
            row = await (await link.execute(_CUT)).fetchone()
            cut = int(row[0]) if row else 0
        row = await (await link.execute(_BEHIND, (cut,))).fetchone()
    unpublished, unapplied = row or (0, 0)
    if unpublished:
        return cut, f"{unpublished} events to be published"
    if unapplied:
        return cut, f"{unapplied} events to be applied by analytics"
    return cut, await _unacknowledged(target)


async def _unacknowledged(target: Target) -> str | None:
    async with bus.observer(target) as client:
        last = await bus.last_event(client, STREAM, EVENTS)
        if last is None:
            return None
        for durable in await bus.durables(client, STREAM):
            state = await bus.consumer_state(client, STREAM, durable)
            if state.ack_floor.stream_seq < last.seq:
                return f"{durable} to acknowledge events ({state.num_ack_pending} pending)"
    return None

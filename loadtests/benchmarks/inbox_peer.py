"""What `analytics_catch_up` compares with: a consumer that keeps a row an event, in an inbox, to know what it has
applied. Run by it; reads its task as JSON from stdin and prints what it did as JSON.

`single` is the pattern as it is mostly written: a message is a transaction, with the inbox row, the effect, and the
acknowledgement after it. `batched` does the same 500 events at a time, the rows of a batch in one statement and its
effect added up before, as `framed` does with 500 events in one message. One connection each, as analytics has.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import asyncpg
import msgspec
import nats
from nats.js.api import ConsumerConfig
from nats.js.errors import ServiceUnavailableError

from infra import target as targets
from system import event_loop
from system.wire import Project, ProjectEvent

STREAM = "LOAD"
DURABLE = "inbox"
TABLES = """
create table inbox_peer (event_id uuid primary key, applied_at timestamptz not null default clock_timestamp());
create table inbox_peer_rollup (region text, sector text, status text, projects bigint not null,
    funding_usd_millions numeric(16, 2) not null, primary key (region, sector, status));
"""
BATCH = 500
_FETCH_WITHIN_S = 10.0
_NO_LEADER_WAIT_S = 0.05
_ACK_PENDING_MAX = 4 * BATCH
_KEEP = "insert into inbox_peer (event_id) select unnest($1::uuid[]) on conflict do nothing returning event_id::text"
_ADD = """
insert into inbox_peer_rollup as r select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::numeric[])
on conflict (region, sector, status) do update set projects = r.projects + excluded.projects,
    funding_usd_millions = r.funding_usd_millions + excluded.funding_usd_millions"""

Variant = Literal["single", "batched", "framed"]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, and how to get at the servers: secrets come by stdin, where no process list shows them."""

    variant: Variant
    events: int
    dsn: str
    target: str
    within_s: float


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` from the first message to the last commit, and the CPU seconds of this process in them."""

    events: int
    seconds: float
    cpu_s: float


async def work(task: Task) -> Done:
    """Consume until so many events are applied. TimeoutError if that takes too long."""
    decode: Any = msgspec.json.Decoder(list[ProjectEvent]).decode
    target = targets.read(Path(task.target))
    async with asyncio.timeout(task.within_s):
        client = await nats.connect(**target.nats_options(target.nats_load))
        connection = await asyncpg.connect(task.dsn)
        subscription = await client.jetstream().pull_subscribe(
            "", DURABLE, stream=STREAM, config=ConsumerConfig(max_ack_pending=_ACK_PENDING_MAX)
        )
        applied, began, cpu = 0, 0.0, 0.0
        while applied < task.events:
            try:
                messages = await subscription.fetch(1 if task.variant == "framed" else BATCH, timeout=_FETCH_WITHIN_S)
            except ServiceUnavailableError:  # A durable that was just made has no leader yet.
                await asyncio.sleep(_NO_LEADER_WAIT_S)
                continue
            if not began:
                began, cpu = time.perf_counter(), time.process_time()
            portion = 1 if task.variant == "single" else len(messages)
            for start in range(0, len(messages), portion):
                some = messages[start : start + portion]
                applied += await _apply(connection, [event for one in some for event in decode(one.data)])
                for message in some:
                    await message.ack()
        done = Done(events=applied, seconds=time.perf_counter() - began, cpu_s=time.process_time() - cpu)
        await connection.close()
        await client.close()
    return done


async def _apply(connection: asyncpg.Connection, events: Sequence[ProjectEvent]) -> int:
    async with connection.transaction():
        kept = {row[0] for row in await connection.fetch(_KEEP, [event.id for event in events])}
        cells = _cells(event for event in events if event.id in kept)
        if cells:
            await connection.execute(_ADD, *(list(column) for column in zip(*cells, strict=True)))
    return len(kept)


def _cells(events: Iterable[ProjectEvent]) -> list[tuple[str, str, str, int, Decimal]]:
    """What the events add to each cell; a cell of no change is left in, since it is one of few."""
    sums: dict[tuple[str, str, str], tuple[int, Decimal]] = {}

    def add(project: Project | None, sign: int) -> None:
        if project is not None:
            cell = (project.region, project.sector, project.status)
            count, usd = sums.get(cell, (0, Decimal(0)))
            sums[cell] = (count + sign, usd + sign * project.funding_usd_millions)

    for event in events:
        add(event.before, -1)
        add(event.after, 1)
    return [(*cell, *total) for cell, total in sums.items()]


def main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    print(msgspec.json.encode(event_loop.run(work(task))).decode())


if __name__ == "__main__":
    main()

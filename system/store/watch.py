"""What the watch reads and writes in PostgreSQL: positions, incidents that the system raises by itself, and the
removal of what has had its day.

Every write may be done by two watches at once: the partial unique index keeps one open incident of a kind and
subject, and closing one that is closed changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from system.store.outbox import RETENTION_DAYS
from system.wire import IncidentKind, Region, Severity

_CONFIRMED = "select partition, confirmed_position from relay_partition"
_POSITIONS = "select consumer, partition, position from consumer_position"
_SKIPPED = "select consumer, count(*) from consumer_skipped group by consumer"
_OPEN = "select kind, subject from incidents where status = 'open' and kind <> 'reported'"
# The function that reads the control file is not for the application; the name of a WAL file tells it, too.
_TIMELINE = """
select timeline_id::text, (select value from watch_seen where name = 'timeline')
from pg_split_walfile_name(pg_walfile_name(pg_current_wal_lsn()))"""
_SEEN_FIRST = "insert into watch_seen (name, value) values ('timeline', $1) on conflict (name) do nothing"
_SEEN = "select value from watch_seen where name = 'timeline' for update"
_SEE = "update watch_seen set value = $1 where name = 'timeline'"
_RAISE = """
insert into incidents (region, kind, severity, subject, title, detail, raised_by)
values ($1, $2, $3, $4, $5, $6, 'system')
on conflict (kind, subject) where status = 'open' and kind <> 'reported' do """
_OPEN_ONE = _RAISE + "nothing"
_ADD_TO_ONE = _RAISE + (
    "update set detail = right(incidents.detail || E'\\n' || excluded.detail, 4000), version = incidents.version + 1"
)
_CLOSE = """
update incidents set status = 'closed', closed_at = transaction_timestamp(), version = version + 1
where kind = $1 and subject = $2 and status = 'open'"""

PRUNE_BATCH = 1_000
# Found by their BRIN indexes, hence without an order.
_PRUNE_OLD = f"""
with old as (
    select ctid from {{table}} where {{at}} < transaction_timestamp() - interval '{RETENTION_DAYS} days'
    limit $1 for update skip locked
)
delete from {{table}} t using old where t.ctid = old.ctid"""
_PRUNE = (
    """
with old as (
    select client_id, key from idempotency where created_at < transaction_timestamp() - interval '24 hours'
    order by created_at limit $1 for update skip locked
)
delete from idempotency i using old where (i.client_id, i.key) = (old.client_id, old.key)""",
    """
with old as (
    select event_id from notification
    where state <> 'pending' and created_at < transaction_timestamp() - interval '7 days'
    order by created_at limit $1 for update skip locked
)
delete from notification n using old where n.event_id = old.event_id""",
    _PRUNE_OLD.format(table="consumer_applied", at="applied_at"),
    _PRUNE_OLD.format(table="refusals", at="last_at"),
)
"""Keys whose clients have long stopped trying, notifications that are over and done with, traces of events that no
stream holds any more, and refusals that stand in the audit trail since as long."""


@dataclass(frozen=True)
class Picture:
    """What the watch judges, as it is now."""

    confirmed: Mapping[str, int]
    """Partition -> the last position in its stream."""
    positions: Mapping[str, Mapping[str, int]]
    """Consumer -> partition -> the last position that it applied, or that it reported."""
    skipped: Mapping[str, int]
    """Consumer -> how many events it put aside."""
    open: frozenset[tuple[IncidentKind, str]]
    """Kind and subject of each open incident of the system's own."""


class NewIncident(NamedTuple):
    """What the system raises."""

    region: Region
    kind: IncidentKind
    severity: Severity
    subject: str
    title: str
    detail: str


async def look(connection: asyncpg.Connection) -> Picture:
    """Positions first: a consumer is then never behind more than it was when they were read."""
    positions: dict[str, dict[str, int]] = {}
    for consumer, partition, position in await connection.fetch(_POSITIONS):
        positions.setdefault(consumer, {})[partition] = position
    return Picture(
        confirmed=dict(await connection.fetch(_CONFIRMED)),
        positions=positions,
        skipped=dict(await connection.fetch(_SKIPPED)),
        open=frozenset(tuple(row) for row in await connection.fetch(_OPEN)),
    )


async def open_incident(connection: asyncpg.Connection, incident: NewIncident) -> None:
    """Open it, unless one of its kind and subject is open."""
    await connection.execute(_OPEN_ONE, *incident)


async def close_incident(connection: asyncpg.Connection, kind: IncidentKind, subject: str) -> None:
    """Close the open one of this kind and subject, if there is one."""
    await connection.execute(_CLOSE, kind, subject)


async def see_timeline(connection: asyncpg.Connection, region: Region) -> None:
    """Open an incident if the primary is on another timeline than it was: another member was promoted. It stays
    open until somebody has looked at it; what happens before that is added to it."""
    timeline, seen = await connection.fetchrow(_TIMELINE)
    if seen == timeline:
        return
    async with connection.transaction():
        await connection.execute(_SEEN_FIRST, timeline)
        before = await connection.fetchval(_SEEN)
        if before == timeline:
            return
        detail = f"The primary went from timeline {before} to {timeline}: another member was promoted."
        incident = NewIncident(region, "failover", "warning", "postgres", "PostgreSQL failed over", detail)
        await connection.execute(_ADD_TO_ONE, *incident)
        await connection.execute(_SEE, timeline)


async def prune(connection: asyncpg.Connection) -> bool:
    """Remove a batch of each of what has had its day; whether there may be more."""
    removed = [await connection.execute(statement, PRUNE_BATCH) for statement in _PRUNE]
    return any(int(status.rpartition(" ")[2]) == PRUNE_BATCH for status in removed)

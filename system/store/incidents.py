"""What the incident monitor reads and writes in PostgreSQL: positions, the incidents that the system opens by itself,
and the deletion of old rows.

Two monitors may run at once: a partial unique index keeps one open incident of a kind and subject, and closing a closed
incident changes nothing.
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
# The application may not call the function that reads the control file; a WAL file's name holds the timeline, too.
_TIMELINE = """
select timeline_id::text, (select value from watch_seen where name = 'timeline')
from pg_split_walfile_name(pg_walfile_name(pg_current_wal_lsn()))"""
_INITIAL_TIMELINE = "insert into watch_seen (name, value) values ('timeline', $1) on conflict (name) do nothing"
_LAST_TIMELINE = "select value from watch_seen where name = 'timeline' for update"
_SET_TIMELINE = "update watch_seen set value = $1 where name = 'timeline'"
_RAISE = """
insert into incidents (region, kind, severity, subject, title, detail, raised_by)
values ($1, $2, $3, $4, $5, $6, 'system')
on conflict (kind, subject) where status = 'open' and kind <> 'reported' do """
_OPEN_INCIDENT = _RAISE + "nothing"
_OPEN_OR_APPEND = _RAISE + (
    "update set detail = right(incidents.detail || E'\\n' || excluded.detail, 4000), version = incidents.version + 1"
)
_CLOSE = """
update incidents set status = 'closed', closed_at = transaction_timestamp(), version = version + 1
where kind = $1 and subject = $2 and status = 'open'"""

PRUNE_BATCH = 1_000
# Without an order, so that the BRIN index on the time is used.
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
"""Idempotency keys after a day, settled notifications after a week; after RETENTION_DAYS the trace of applied events,
and refusals, which are in the audit trail by then."""


@dataclass(frozen=True)
class Snapshot:
    """What the incident monitor judges, as it is now."""

    confirmed: Mapping[str, int]
    """Partition -> the last position in its stream."""
    positions: Mapping[str, Mapping[str, int]]
    """Consumer -> partition -> the last position that it applied or reported."""
    skipped: Mapping[str, int]
    """Consumer -> how many events it skipped."""
    open: frozenset[tuple[IncidentKind, str]]
    """(kind, subject) of each open incident that the system opened."""


class SystemIncident(NamedTuple):
    """An incident that the system opens."""

    region: Region
    kind: IncidentKind
    severity: Severity
    subject: str
    title: str
    detail: str


async def read_snapshot(connection: asyncpg.Connection) -> Snapshot:
    """Read the current state. The consumers' positions are read first, so a consumer may look further behind than it
    is, but never less far."""
    positions: dict[str, dict[str, int]] = {}
    for consumer, partition, position in await connection.fetch(_POSITIONS):
        positions.setdefault(consumer, {})[partition] = position
    return Snapshot(
        confirmed=dict(await connection.fetch(_CONFIRMED)),
        positions=positions,
        skipped=dict(await connection.fetch(_SKIPPED)),
        open=frozenset(tuple(row) for row in await connection.fetch(_OPEN)),
    )


async def open_incident(connection: asyncpg.Connection, incident: SystemIncident) -> None:
    """Open an incident, unless one of its kind and subject is open."""
    await connection.execute(_OPEN_INCIDENT, *incident)


async def close_incident(connection: asyncpg.Connection, kind: IncidentKind, subject: str) -> None:
    """Close the open incident of this kind and subject, if there is one."""
    await connection.execute(_CLOSE, kind, subject)


async def check_timeline(connection: asyncpg.Connection, region: Region) -> None:
    """Open an incident if the primary's timeline has changed, which means that another member was promoted. It stays
    open until an operator closes it; further promotions are appended to it."""
    timeline, seen = await connection.fetchrow(_TIMELINE)
    if seen == timeline:
        return
    async with connection.transaction():
        await connection.execute(_INITIAL_TIMELINE, timeline)
        before = await connection.fetchval(_LAST_TIMELINE)
        if before == timeline:
            return
        detail = f"The primary went from timeline {before} to {timeline}: another member was promoted."
        incident = SystemIncident(region, "failover", "warning", "postgres", "PostgreSQL failed over", detail)
        await connection.execute(_OPEN_OR_APPEND, *incident)
        await connection.execute(_SET_TIMELINE, timeline)


async def prune(connection: asyncpg.Connection) -> bool:
    """Delete a batch of old rows of each kind. Returns whether there may be more."""
    removed = [await connection.execute(statement, PRUNE_BATCH) for statement in _PRUNE]
    return any(int(status.rpartition(" ")[2]) == PRUNE_BATCH for status in removed)

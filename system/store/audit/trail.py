"""The audit trail in PostgreSQL: entries are appended, and read in order.

All streams share one hash chain, so its writers must take turns. They take an advisory lock for their transaction.
A row with the chain's tip would do, too, but it would have to be updatable and to agree with the trail; with the
lock, the trail's last entry is the tip. If two writers ever got past the lock, the primary key on `seq` would fail
the later transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import asyncpg

from system.domain import hash_chain
from system.domain.hash_chain import START, Entry, Tip
from system.store.blocking import Connection
from system.wire import Event

PAGE = 2_000
"""Entries a page: about 3 MB."""

_LOCK = "select pg_advisory_xact_lock(hashtext('covenant.audit'))"
# Separate from _LOCK, so that its snapshot includes what the previous holder of the lock committed.
_TIP = "select seq, hash from audit_log order by seq desc limit 1"
_APPEND = """
insert into audit_log (seq, event_id, partition, position, entry, previous_hash, hash)
select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])"""
_READ = """
select seq, event_id::text, partition, position, entry, previous_hash, hash
from audit_log where seq > %s order by seq limit %s"""


async def append(connection: asyncpg.Connection, events: Sequence[Event]) -> Tip:
    """Append an entry for each event, within the caller's transaction. Returns the chain's new tip. Other writers wait
    until that transaction ends."""
    await connection.execute(_LOCK)
    row = await connection.fetchrow(_TIP)
    entries = hash_chain.extend(START if row is None else Tip(*row), events)
    await connection.execute(_APPEND, *(list(column) for column in zip(*entries, strict=True)))
    return Tip(entries[-1].seq, entries[-1].hash)


def pages(connection: Connection, after: int, limit: int | None = None) -> Iterator[list[Entry]]:
    """The entries after sequence number `after`, in order, at most `limit` of them, in pages of PAGE."""
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = [Entry(*row) for row in connection.execute(_READ, (after, size))]
        if page:
            yield page
        if len(page) < size:
            return
        after = page[-1].seq
        left = None if left is None else left - size

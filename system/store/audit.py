"""The audit trail in PostgreSQL: entries are added at its end, and read in order.

There is one chain for all streams, so its writers must take turns. They do by an advisory lock of the transaction
rather than by a row that holds the tip: the trail itself says where it ends, so nothing beside it has to be kept
equal to it, and nothing in it has to be updatable. Should two ever write at once all the same, `seq` is a primary
key and the later one fails whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import asyncpg

from system.domain import chain
from system.domain.chain import START, Entry, Tip
from system.store.blocking import Connection
from system.wire import Event

PAGE = 2_000
"""Entries that are read at once: about 3 MB."""

_LOCK = "select pg_advisory_xact_lock(hashtext('covenant.audit'))"
# A statement of its own after _LOCK, so that it sees what the writer before has committed.
_TIP = "select seq, hash from audit_log order by seq desc limit 1"
_APPEND = """
insert into audit_log (seq, event_id, partition, position, entry, previous_hash, hash)
select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])"""
_READ = """
select seq, event_id::text, partition, position, entry, previous_hash, hash
from audit_log where seq > %s order by seq limit %s"""


async def append(connection: asyncpg.Connection, events: Sequence[Event]) -> Tip:
    """Add an entry for each event, within the caller's transaction; the chain's new end. Other writers wait for
    that transaction to end."""
    await connection.execute(_LOCK)
    row = await connection.fetchrow(_TIP)
    entries = chain.extend(START if row is None else Tip(*row), events)
    await connection.execute(_APPEND, *(list(column) for column in zip(*entries, strict=True)))
    return Tip(entries[-1].seq, entries[-1].hash)


def pages(connection: Connection, after: int, limit: int | None = None) -> Iterator[list[Entry]]:
    """The entries behind `after` in order, at most `limit` of them, page by page."""
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

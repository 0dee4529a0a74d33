"""The queue of notifications in PostgreSQL: each is stored once, by its event's id, and sent at least once.

A sender claims due notifications by moving their due time forward by a lease, in a transaction of its own. If it is
killed before it reports the outcome, the lease runs out and the notification is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from system.domain.notification_rules import EXPIRES_AFTER_S, Notification

_KEEP = """
insert into notification (event_id, topic, title, body)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[]) on conflict (event_id) do nothing"""
_CLAIM = """
with due as (
    select event_id from notification where state = 'pending' and next_attempt_at <= transaction_timestamp()
    order by next_attempt_at limit $1 for update skip locked
)
update notification n set attempts = attempts + 1,
    next_attempt_at = transaction_timestamp() + make_interval(secs => $2)
from due where n.event_id = due.event_id
returning n.event_id::text, n.topic, n.title, n.body, n.attempts"""
_DELIVERED = """
update notification set state = 'delivered', delivered_at = transaction_timestamp()
where event_id = any($1::uuid[]) and state = 'pending'"""
_FAILED = """
update notification n set next_attempt_at = transaction_timestamp() + make_interval(secs => f.again_after_s),
    last_error = f.error
from unnest($1::uuid[], $2::float8[], $3::text[]) as f (event_id, again_after_s, error)
where n.event_id = f.event_id and n.state = 'pending'"""
_EXPIRE = """
with old as (
    select event_id from notification
    where state = 'pending' and created_at < transaction_timestamp() - make_interval(secs => $1)
    limit 1000 for update skip locked
)
update notification n set state = 'expired' from old where n.event_id = old.event_id"""
_PENDING = "select count(*) from notification where state = 'pending'"


class Claimed(NamedTuple):
    """A notification to send now. `attempts` counts the attempts, this one included."""

    notification: Notification
    attempts: int


class Failure(NamedTuple):
    """A failed attempt: the error, and the seconds until the next one."""

    event_id: str
    again_after_s: float
    error: str


async def keep(connection: asyncpg.Connection, notifications: Sequence[Notification]) -> None:
    """Store notifications as pending, within the caller's transaction. One that is stored already stays as it is."""
    bodies = [msgspec.json.encode(one.body).decode() for one in notifications]
    columns = [[getattr(one, name) for one in notifications] for name in ("id", "topic", "title")]
    await connection.execute(_KEEP, *columns, bodies)


async def claim(connection: asyncpg.Connection, limit: int, lease_s: float) -> list[Claimed]:
    """Claim at most `limit` due notifications. No other sender gets them for `lease_s`."""
    return [
        Claimed(Notification(id=row[0], topic=row[1], title=row[2], body=msgspec.json.decode(row[3])), row[4])
        for row in await connection.fetch(_CLAIM, limit, lease_s)
    ]


async def settle(connection: asyncpg.Connection, delivered: Sequence[str], failures: Sequence[Failure]) -> None:
    """Record the outcome of claimed notifications: the ids of delivered ones, and the failures."""
    async with connection.transaction():
        if delivered:
            await connection.execute(_DELIVERED, list(delivered))
        if failures:
            await connection.execute(_FAILED, *(list(column) for column in zip(*failures, strict=True)))


async def expire(connection: asyncpg.Connection) -> int:
    """Expire at most 1,000 notifications that are too old. Returns how many."""
    status = await connection.execute(_EXPIRE, float(EXPIRES_AFTER_S))
    return int(status.rpartition(" ")[2])


async def pending(connection: asyncpg.Connection) -> int:
    """How many notifications are pending."""
    return int(await connection.fetchval(_PENDING))

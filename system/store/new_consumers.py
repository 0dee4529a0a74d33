"""Where a consumer that is new to a database begins.

A consumer that keeps its effects in PostgreSQL needs a position in every partition before its first event: without one
it would put good events aside as faulty. So every migration ends with this step, which gives each declared consumer
the positions that it lacks.

A new consumer begins with the oldest event that the outbox holds. On a new database that is the first event there is.
On an old one it cannot begin at position 0: the events from there on are pruned, and it would wait for them for ever.
To begin behind the newest event would leave out, without a word, what it could still apply. An effect that has to agree
with rows that are there already, as a roll-up has, is set up by a migration of its own together with its positions:
what that has written stays as it is.
"""

from __future__ import annotations

import sqlalchemy

from system.wire import observer

_LACKING = """
select exists (
    select from unnest(%s::text[]) as declared (consumer) cross join relay_partition
    left join consumer_position p using (consumer, partition) where p.position is null
)"""
# Nothing is pruned meanwhile: what is the oldest event now must be there when the new positions are.
_HOLD = "lock table outbox_position in share mode"
_BEGIN = """
insert into consumer_position (consumer, partition, position)
select declared.consumer, r.partition, coalesce(
    (select min(o.position) - 1 from outbox_position o where o.partition = r.partition), r.next_position - 1)
from unnest(%s::text[]) as declared (consumer) cross join relay_partition r
on conflict (consumer, partition) do nothing"""


def begin(connection: sqlalchemy.Connection) -> None:
    """Give every declared consumer that runs once its position in each partition where it has none."""
    consumers = (observer.once(),)
    if connection.exec_driver_sql(_LACKING, consumers).scalar():
        connection.exec_driver_sql(_HOLD)
        connection.exec_driver_sql(_BEGIN, consumers)

"""The statement that records refused requests; a trigger makes an event of each row, which the audit trail gets.

A batch carries a key that is stored in its transaction, so a batch whose outcome was unknown can be sent again
without being written twice.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any, NamedTuple

_CLIENT = "system:refusals"
WRITE = f"""
with once as (
    insert into idempotency (client_id, key, request_sha256, status, answer) values ('{_CLIENT}', $1, '', 204, 'null')
)
insert into refusals (client_id, region, method, route, status, reason, count, last_at)
select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::int[],
    $9::timestamptz[])"""


class Refusal(NamedTuple):
    """Who was refused what, and why. Equal refusals are counted, not repeated."""

    client_id: str
    method: str
    route: str
    status: int
    reason: str


def arguments(key: str, region: str, refusals: Iterable[tuple[Refusal, int, datetime.datetime]]) -> tuple[Any, ...]:
    """The arguments of WRITE, from (refusal, count, time of the last one) each."""
    columns: tuple[list[Any], ...] = tuple([] for _ in range(8))
    for one, count, last_at in refusals:
        values = (one.client_id, region, one.method, one.route, one.status, one.reason, count, last_at)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return key, *columns

"""The API's SQL for countries, projects, users and incidents: one statement an operation, so that a write from a
distant region costs one round trip. PostgreSQL makes the JSON of an item, which is cheap and keeps numbers exact.

A write stores its answer under the client's idempotency key in the same statement (see `idempotency`). A second use of
the key violates a constraint, which rolls the write back.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import msgspec

from system.wire import Aggregate, Country, Incident, Project, User

HINT_CHANNEL = "covenant_outbox"
"""The channel on which the relay listens; a hint's text is the aggregate. The hint is sent after the commit: a NOTIFY
inside the transaction would make all writers queue for one lock while they wait for the standby."""
SEND_HINT = f"select pg_notify('{HINT_CHANNEL}', aggregate) from unnest($1::text[]) aggregate"

_TAG = "incarnation || '-' || version"
"""The state of an item as its ETag names it: the same version of an item that was deleted and made anew is another."""
_AS_EXPECTED = f"($5::text is null or {_TAG} = $5)"

_INSTANTS = ("opened_at", "closed_at")
_KINDS: tuple[tuple[Aggregate, type[msgspec.Struct]], ...] = (
    ("countries", Country), ("projects", Project), ("users", User), ("incidents", Incident),
)  # fmt: skip
_COLUMNS: dict[Aggregate, str] = {
    aggregate: ", ".join(
        f"""to_char({name} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as {name}""" if name in _INSTANTS
        else name
        for name in kind.__struct_fields__
    )
    for aggregate, kind in _KINDS
}  # fmt: skip

ONE: dict[Aggregate, str] = {
    aggregate: f"select row_to_json(p)::text, {_TAG}, region from (select {columns} from {aggregate} where id = $1) p"
    for aggregate, columns in _COLUMNS.items()
}
"""The statement for one item: $1 is its id; the row is (JSON, state tag, region)."""


class Write(NamedTuple):
    """A writing statement and the HTTP status of its success. $1 is the client's id, $2 its idempotency key or null, $3
    the SHA-256 of the request. The row is (item's JSON, id, state tag, transaction's xid8 as text)."""

    sql: str
    status: int


def _write(aggregate: Aggregate, status: int, change: str, further: str = "") -> Write:
    """A statement around `change`, an insert, update or delete without its `returning`."""
    item = "null::json" if status == 204 else "row_to_json(p)"
    return Write(
        f"""
with written as ({change} returning *), {further}
item as (select {item} as item, p.id, {_TAG} as tag from (select {_COLUMNS[aggregate]} from written) p),
kept as (
    insert into idempotency (client_id, key, request_sha256, status, answer)
    select $1, $2, $3, {status}, jsonb_build_object('written', pg_current_xact_id()::text, 'item', item)
    from item where $2::text is not null
)
select item::text, id::text, tag, pg_current_xact_id()::text from item""",
        status,
    )


# A null id is generated; an id that exists already writes nothing.
CREATE_PROJECT = _write(
    "projects",
    201,
    """
insert into projects (id, name, region, country_code, sector, status, funding_usd_millions)
values (coalesce($4, gen_random_uuid()), $5, $6, $7, $8, $9, $10) on conflict (id) do nothing""",
)

CREATE_INCIDENT = _write(
    "incidents",
    201,
    """
insert into incidents (id, region, kind, severity, subject, title, detail, raised_by)
values (coalesce($4, gen_random_uuid()), $5, 'reported', $6, 'reported', $7, $8, $9) on conflict (id) do nothing""",
)

CREATE_USER = _write(
    "users",
    201,
    """
insert into users (id, role, region, rate_per_s) values ($4, $5, $6, $7) on conflict (id) do nothing""",
    """
secret as (insert into user_secret (id, secret_sha256) select id, $8 from written),""",
)

# A null parameter leaves its column unchanged; a null state tag matches any state (`If-Match: *`).
UPDATE_PROJECT = _write(
    "projects",
    200,
    f"""
update projects set name = coalesce($7, name), region = coalesce($8, region),
    country_code = coalesce($9, country_code), sector = coalesce($10, sector), status = coalesce($11, status),
    funding_usd_millions = coalesce($12, funding_usd_millions), version = version + 1
where id = $4 and {_AS_EXPECTED} and ($6::text is null or region = $6)""",
)

UPDATE_COUNTRY = _write(
    "countries",
    200,
    f"""
update countries set gdp_usd_billions = coalesce($6, gdp_usd_billions), gdp_year = coalesce($7, gdp_year),
    gdp_source = coalesce($8, gdp_source), gdp_approximate = coalesce($9, gdp_approximate),
    contribution_usd_millions = coalesce($10, contribution_usd_millions), version = version + 1
where id = $4 and {_AS_EXPECTED}""",
)

UPDATE_INCIDENT = _write(
    "incidents",
    200,
    f"""
update incidents set status = coalesce($6, status), severity = coalesce($7, severity), title = coalesce($8, title),
    detail = coalesce($9, detail), version = version + 1, closed_at = case coalesce($6, status)
        when 'closed' then coalesce(closed_at, transaction_timestamp()) end
where id = $4 and {_AS_EXPECTED}""",
)

# $7: whether to set the region to $8, which may be null.
UPDATE_USER = _write(
    "users",
    200,
    f"""
update users set role = coalesce($6, role), region = case when $7::boolean then $8 else region end,
    rate_per_s = coalesce($9, rate_per_s), disabled = coalesce($10, disabled), version = version + 1
where id = $4 and {_AS_EXPECTED}""",
    """
secret as (
    update user_secret s set secret_sha256 = $11 from written w where s.id = w.id and $11::text is not null
),""",
)

DELETE_PROJECT = _write(
    "projects",
    204,
    f"""
delete from projects
where id = $4 and {_AS_EXPECTED} and ($6::text is null or region = $6)""",
)

DELETE_USER = _write(
    "users",
    204,
    f"""
delete from users where id = $4 and {_AS_EXPECTED}""",
)


@cache
def page(aggregate: Aggregate, filters: tuple[str, ...], sort: str = "id", *, first: bool) -> str:
    """The statement for a page of items as JSON. Its parameters: the number of rows, the value of each filter, and, for
    every page but the first, the previous page's last sort value (unless sorted by id) and last id. `filters` and
    `sort` (with a leading `-`: descending) are column names and never come from a client."""
    field = sort.removeprefix("-")
    order, beyond = ("desc", "<") if sort != field else ("asc", ">")
    keys = [f"{aggregate}.{name}" for name in dict.fromkeys((field, "id"))]
    conditions = [f"{name} = ${number}" for number, name in enumerate(filters, 2)]
    if not first:
        places = ", ".join(f"${len(filters) + 2 + number}" for number in range(len(keys)))
        conditions.append(f"({', '.join(keys)}) {beyond} ({places})")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    by = ", ".join(f"{key} {order}" for key in keys)
    return (
        f"select row_to_json(p)::text from (select {_COLUMNS[aggregate]} from {aggregate}{where} "
        f"order by {by} limit $1) p"
    )

"""What the API reads and writes, in SQL: one statement an operation, so that a write from the far side of the
world costs one round trip. Table columns carry the names of the fields of `wire` in the same order.
"""

from __future__ import annotations

from functools import cache

from system.domain.partitions import Aggregate
from system.store.connect import Record
from system.wire import Country, Project

_COUNTRY = ", ".join(Country.__struct_fields__)
_PROJECT = ", ".join("id::text" if name == "id" else name for name in Project.__struct_fields__)
_COLUMNS: dict[Aggregate, str] = {"countries": _COUNTRY, "projects": _PROJECT}

HINT_CHANNEL = "covenant_outbox"
"""The relay listens here. The hint is sent after the commit, on its own: a NOTIFY inside the transaction
would make all writers queue for one lock while they wait for the standby."""
SEND_HINT = f"select pg_notify('{HINT_CHANNEL}', '')"

ONE: dict[Aggregate, str] = {
    "countries": f"select {_COUNTRY} from countries where id = $1",
    "projects": f"select {_PROJECT} from projects where id = $1",
}

CREATE_PROJECT = f"""
insert into projects (id, name, region, country_code, sector, status, funding_usd_millions)
values (coalesce($1, gen_random_uuid()), $2, $3, $4, $5, $6, $7)
on conflict (id) do nothing returning {_PROJECT}"""

# A parameter that is null leaves its column as it is; a null version matches any (`If-Match: *`).
UPDATE_PROJECT = f"""
update projects set name = coalesce($3, name), region = coalesce($4, region),
    country_code = coalesce($5, country_code), sector = coalesce($6, sector),
    status = coalesce($7, status), funding_usd_millions = coalesce($8, funding_usd_millions),
    version = version + 1
where id = $1 and ($2::bigint is null or version = $2) returning {_PROJECT}"""

UPDATE_COUNTRY = f"""
update countries set gdp_usd_billions = coalesce($3, gdp_usd_billions), gdp_year = coalesce($4, gdp_year),
    gdp_source = coalesce($5, gdp_source), gdp_approximate = coalesce($6, gdp_approximate),
    contribution_usd_millions = coalesce($7, contribution_usd_millions), version = version + 1
where id = $1 and ($2::bigint is null or version = $2) returning {_COUNTRY}"""

DELETE_PROJECT = "delete from projects where id = $1 and ($2::bigint is null or version = $2) returning id"


@cache
def page(aggregate: Aggregate, filters: tuple[str, ...], *, first: bool) -> str:
    """The statement for one page: $1 how many rows, then the value of each filter, then, unless it is the
    first page, the id to start after. `filters` are names of columns and never come from a client."""
    columns = [f"{name} = " for name in filters] + ([] if first else ["id > "])
    conditions = " and ".join(f"{column}${number}" for number, column in enumerate(columns, 2))
    where = f" where {conditions}" if conditions else ""
    return f"select {_COLUMNS[aggregate]} from {aggregate}{where} order by {aggregate}.id limit $1"


def to_project(row: Record) -> Project:
    """A row of `projects` as clients see it."""
    identity, name, region, country_code, sector, status, funding, version = row
    return Project(
        id=identity, name=name, region=region, country_code=country_code, sector=sector, status=status,
        funding_usd_millions=funding, version=version,
    )  # fmt: skip


def to_country(row: Record) -> Country:
    """A row of `countries` as clients see it."""
    return Country(**row)

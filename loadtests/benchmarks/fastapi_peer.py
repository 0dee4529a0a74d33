"""What the API is compared with: the same answers by a plain FastAPI + uvicorn + asyncpg service, written as its
documentation has it. Only `api_speed` starts it, with the database in DSN and its port in PORT.

It has no authentication, caches nothing and sends no ETags: all of that is in its favour.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any

import asyncpg
import uvicorn
from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel

from system.wire import Region, Sector, Status

_CONNECTIONS = 6
_PROJECT = "id::text, name, region, country_code, sector, status, funding_usd_millions, version"
_SUMMARY = """
with c as (
    select region, sum(countries) as countries, sum(contribution_usd_millions) as contribution_usd_millions
    from country_rollup group by region
), p as (
    select region, sum(projects) as projects, sum(funding_usd_millions) as funding_usd_millions
    from rollup group by region
), s as (
    select region, json_object_agg(sector, n) as by_sector
    from (select region, sector, sum(projects) as n from rollup group by 1, 2) x group by region
), t as (
    select region, json_object_agg(status, n) as by_status
    from (select region, status, sum(projects) as n from rollup group by 1, 2) x group by region
)
select region as id, countries, contribution_usd_millions, projects, funding_usd_millions, by_sector, by_status
from c join p using (region) join s using (region) join t using (region) order by region"""


class Project(BaseModel):
    id: str
    name: str
    region: Region
    country_code: str
    sector: Sector
    status: Status
    funding_usd_millions: Decimal
    version: int


class Projects(BaseModel):
    items: list[Project]
    next: str | None


class Totals(BaseModel):
    id: Region
    countries: int
    contribution_usd_millions: Decimal
    projects: int
    funding_usd_millions: Decimal
    by_sector: dict[str, int]
    by_status: dict[str, int]


class AllTotals(BaseModel):
    items: list[Totals]
    next: None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DSN"], min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/regions", response_model=AllTotals)
async def regions() -> dict[str, Any]:
    rows = await app.state.pool.fetch(_SUMMARY)
    items = [
        {**row, "by_sector": json.loads(row["by_sector"]), "by_status": json.loads(row["by_status"])} for row in rows
    ]
    return {"items": items, "next": None}


@app.get("/projects", response_model=Projects)
async def projects(
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
    region: Region | None = None,
    sector: Sector | None = None,
    status: Status | None = None,
) -> dict[str, Any]:
    filters = {"region": region, "sector": sector, "status": status}
    given: list[tuple[str, str]] = [(f"{name} =", value) for name, value in filters.items() if value is not None]
    if after is not None:
        given.append(("id >", after))
    where = " and ".join(f"{condition} ${number}" for number, (condition, _) in enumerate(given, 2)) or "true"
    query = f"select {_PROJECT} from projects where {where} order by projects.id limit $1"
    rows = await app.state.pool.fetch(query, limit + 1, *(value for _, value in given))
    more = len(rows) > limit
    return {"items": [dict(row) for row in rows[:limit]], "next": rows[limit - 1]["id"] if more else None}


@app.get("/projects/{project_id}", response_model=Project)
async def project(project_id: str) -> dict[str, Any]:
    row = await app.state.pool.fetchrow(f"select {_PROJECT} from projects where id = $1", project_id)
    if row is None:
        raise HTTPException(404)
    return dict(row)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")

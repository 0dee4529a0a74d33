"""Countries over HTTP: read them, and correct a GDP. A correction recomputes the pledge."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from litestar import Request, get, patch

from system import wire
from system.api.auth.authorization import require
from system.api.http.messages import (
    Answer,
    Page,
    given_or_none,
    header,
    if_match,
    read_body,
    read_query,
    refuse,
    refuse_empty,
)
from system.api.http.openapi import documented, documented_write
from system.api.resources.items import (
    PageQuery,
    Resource,
    amount,
    get_item,
    list_page,
    nothing_was_written,
    text,
    write,
)
from system.domain.money import contribution_usd_millions
from system.domain.validation import CountryPatch, is_country_code, problems_of_country
from system.store import item_sql
from system.wire import Country, Region

_ONE = f"{wire.COUNTRIES}/{{country_id:str}}"
Continent = Literal["Africa", "Asia", "Europe", "North America", "Oceania", "South America"]


class CountryQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: Region | None = None
    continent: Continent | None = None
    sort: Literal["id", "-id", "name", "-name", "gdp_usd_billions", "-gdp_usd_billions"] = "id"


COUNTRIES = Resource(
    aggregate="countries", noun="country", path=wire.COUNTRIES, kind=Country, is_id=is_country_code,
    filters=("region", "continent"), sorts={"name": text, "gdp_usd_billions": amount},
    read="read", write="write-countries",
)  # fmt: skip


@get(
    wire.COUNTRIES,
    summary="Countries, page by page",
    opt=documented(Page[Country], query=CountryQuery, conditional=True, read_after=True),
)
async def list_countries(request: Request[Any, Any, Any]) -> Answer:
    return await list_page(request, COUNTRIES, read_query(request, CountryQuery))


@get(_ONE, summary="One country", opt=documented(Country, conditional=True, read_after=True, statuses=(404,)))
async def get_country(request: Request[Any, Any, Any], country_id: str) -> Answer:
    return await get_item(request, COUNTRIES, country_id)


@patch(_ONE, summary="Correct a country's GDP (JSON merge patch)", opt=documented_write(Country, body=CountryPatch))
async def update_country(request: Request[Any, Any, Any], country_id: str) -> Answer:
    require(request, COUNTRIES.write)
    key = COUNTRIES.key(country_id)
    expected = if_match(header(request, b"if-match"))
    change = await read_body(request, CountryPatch)
    refuse_empty(change)
    refuse(problems_of_country(change))
    gdp = change.gdp_usd_billions
    contribution = contribution_usd_millions(gdp) if isinstance(gdp, Decimal) else None
    values = (key, expected, *given_or_none(change), contribution)
    changed = await write(request, COUNTRIES, item_sql.UPDATE_COUNTRY, *values)
    return changed or await nothing_was_written(request, COUNTRIES, key)


HANDLERS = [list_countries, get_country, update_country]

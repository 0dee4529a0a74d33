"""Countries over HTTP: read, and correct a GDP, from which the pledge is computed anew."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from litestar import Request, Response, get, patch

from system import wire
from system.api.listing import Limit, list_page
from system.api.messages import (
    LIMIT_DEFAULT,
    Json,
    Page,
    etag,
    given_or_none,
    if_match,
    item,
    read_body,
    refuse,
)
from system.api.problems import ApiError
from system.api.services import Services, services_of
from system.domain.money import contribution_usd_millions
from system.domain.rules import CountryPatch, is_country_code, problems_of_country
from system.store import rows
from system.wire import Country, Region

_ONE = f"{wire.COUNTRIES}/{{country_id:str}}"
Continent = Literal["Africa", "Asia", "Europe", "North America", "Oceania", "South America"]


@get(wire.COUNTRIES, summary="Countries, in the order of their ids")
async def list_countries(
    request: Request[Any, Any, Any],
    limit: Limit = LIMIT_DEFAULT,
    after: str | None = None,
    region: Region | None = None,
    continent: Continent | None = None,
) -> Json[Page[Country]]:
    if after is not None and not is_country_code(after):
        raise ApiError(400, f"after: expected the cursor of a page before (a code like FRA), found {after[:60]!r}")
    filters = {"region": region, "continent": continent}
    return await list_page(request, "countries", rows.to_country, filters, limit, after)


@get(_ONE, summary="One country")
async def get_country(request: Request[Any, Any, Any], country_id: str) -> Response[Country]:
    found = await services_of(request).reader.fetch(rows.ONE["countries"], _key(country_id))
    if not found:
        raise _missing(country_id)
    return item(request, rows.to_country(found[0]))


@patch(_ONE, summary="Correct a country's GDP (JSON merge patch)")
async def update_country(request: Request[Any, Any, Any], country_id: str) -> Json[Country]:
    key = _key(country_id)
    expected = if_match(request.headers.get("if-match"))
    change = await read_body(request, CountryPatch)
    if change == CountryPatch():
        raise ApiError(400, f"expected at least one of {', '.join(CountryPatch.__struct_fields__)}, found none")
    refuse(problems_of_country(change))
    gdp = change.gdp_usd_billions
    contribution = contribution_usd_millions(gdp) if isinstance(gdp, Decimal) else None
    services = services_of(request)
    changed = await services.primary.fetch(rows.UPDATE_COUNTRY, key, expected, *given_or_none(change), contribution)
    if not changed:
        raise await _missing_or_stale(services, country_id)
    services.hint.send()
    country = rows.to_country(changed[0])
    return Json(country, headers={"etag": etag(country.version)})


async def _missing_or_stale(services: Services, country_id: str) -> ApiError:
    found = await services.primary.fetch(rows.ONE["countries"], country_id)
    if not found:
        return _missing(country_id)
    tag = etag(rows.to_country(found[0]).version)
    return ApiError(412, f"the country has changed: its ETag is now {tag}; GET it, then try again", {"etag": tag})


def _key(country_id: str) -> str:
    if not is_country_code(country_id):
        raise _missing(country_id)
    return country_id


def _missing(country_id: str) -> ApiError:
    return ApiError(404, f"there is no country with the id {country_id[:60]!r}")


HANDLERS = [list_countries, get_country, update_country]

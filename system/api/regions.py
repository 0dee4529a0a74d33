"""Totals of the regions over HTTP, from the roll-ups of analytics, cached in the region's Valkey."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get

from system import wire
from system.api.messages import Json, Page, encode
from system.api.problems import ApiError
from system.api.services import Services, services_of
from system.store import rollups
from system.wire import RegionTotals

_ONE = f"{wire.REGIONS}/{{region_id:str}}"
_PAGE = msgspec.json.Decoder(Page[RegionTotals])


@get(wire.REGIONS, summary="Totals of the six regions")
async def list_regions(request: Request[Any, Any, Any]) -> Json[Page[RegionTotals]]:
    services = services_of(request)
    # Bytes as they are cached: Json passes them through.
    return Json(await _totals(services), headers={"covenant-region": services.region})  # type: ignore[arg-type]


@get(_ONE, summary="Totals of one region")
async def get_region(request: Request[Any, Any, Any], region_id: str) -> Json[RegionTotals]:
    for totals in _PAGE.decode(await _totals(services_of(request))).items:
        if totals.id == region_id:
            return Json(totals)
    raise ApiError(404, f"there is no region with the id {region_id[:60]!r}")


async def _totals(services: Services) -> bytes:
    """The list of all totals, encoded."""
    cached = await services.cache.get()
    if cached is not None:
        return cached
    [row] = await services.reader.fetch(rollups.TOTALS)
    totals = rollups.totals(row)
    page = encode(Page(items=totals, next=None))
    await services.cache.fill(page, totals[0].as_of)
    return page


HANDLERS = [list_regions, get_region]

"""Totals of the regions over HTTP: computed from the roll-ups of analytics, cached in the region's Valkey."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request, get

from system import wire
from system.api.auth.authorization import require
from system.api.http.messages import Answer, Page, conditional, encode, etag_of_content
from system.api.http.openapi import documented
from system.api.http.problems import ApiError
from system.api.services import services_of
from system.wire import RegionTotals

_ONE = f"{wire.REGIONS}/{{region_id:str}}"
_tag = lru_cache(maxsize=8)(etag_of_content)  # The body stays the same as long as it is cached.
_PAGE = msgspec.json.Decoder(Page[RegionTotals])


@get(wire.REGIONS, summary="Totals of the six regions", opt=documented(Page[RegionTotals], conditional=True))
async def list_regions(request: Request[Any, Any, Any]) -> Answer:
    require(request, "read")
    services = services_of(request)
    body = await services.totals.get()
    return conditional(request, body, _tag(body), {"Covenant-Region": services.region})


@get(_ONE, summary="Totals of one region", opt=documented(RegionTotals, conditional=True, statuses=(404,)))
async def get_region(request: Request[Any, Any, Any], region_id: str) -> Answer:
    require(request, "read")
    for totals in _PAGE.decode(await services_of(request).totals.get()).items:
        if totals.id == region_id:
            body = encode(totals)
            return conditional(request, body, etag_of_content(body))
    raise ApiError(404, f"there is no region with the id {region_id[:60]!r}")


HANDLERS = [list_regions, get_region]

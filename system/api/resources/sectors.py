"""The six sectors over HTTP: the values of a project's `sector`."""

from __future__ import annotations

from typing import Any

from litestar import Request, get

from system import wire
from system.api.auth.authorization import require
from system.api.http.messages import Answer, Page, conditional, encode, etag_of_content
from system.api.http.openapi import documented
from system.domain.geography import SECTORS
from system.wire import SectorName

_ALL = encode(Page(items=[SectorName(id=sector) for sector in SECTORS], next=None))


_TAG = etag_of_content(_ALL)


@get(wire.SECTORS, summary="The sectors", opt=documented(Page[SectorName], conditional=True))
async def list_sectors(request: Request[Any, Any, Any]) -> Answer:
    require(request, "read")
    return conditional(request, _ALL, _TAG)


HANDLERS = [list_sectors]

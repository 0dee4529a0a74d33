"""The six sectors over HTTP: what a project's `sector` may be."""

from __future__ import annotations

from litestar import get

from system import wire
from system.api.messages import Json, Page
from system.domain.geography import SECTORS
from system.wire import SectorName

_ALL = Page(items=[SectorName(id=sector) for sector in SECTORS], next=None)


@get(wire.SECTORS, summary="The sectors")
async def list_sectors() -> Json[Page[SectorName]]:
    return Json(_ALL)


HANDLERS = [list_sectors]

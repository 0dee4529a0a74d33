"""Incidents over HTTP: those that operators report, and those that the system opens by itself."""

from __future__ import annotations

from typing import Any, Literal

import asyncpg
from litestar import Request, get, patch, post

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
from system.api.http.problems import ApiError
from system.api.resources.items import (
    PageQuery,
    Resource,
    exists_already,
    get_item,
    instant,
    list_page,
    nothing_was_written,
    write,
)
from system.domain.validation import IncidentPatch, is_uuid, problems_of_incident
from system.store import item_sql
from system.wire import Incident, IncidentKind, IncidentStatus, NewIncident, Region

_ONE = f"{wire.INCIDENTS}/{{incident_id:str}}"


class IncidentQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: Region | None = None
    kind: IncidentKind | None = None
    status: IncidentStatus | None = None
    sort: Literal["id", "-id", "opened_at", "-opened_at"] = "id"


INCIDENTS = Resource(
    aggregate="incidents", noun="incident", path=wire.INCIDENTS, kind=Incident, is_id=is_uuid,
    filters=("region", "kind", "status"), sorts={"opened_at": instant}, read="read", write="write-incidents",
)  # fmt: skip


@get(
    wire.INCIDENTS,
    summary="Incidents, page by page",
    opt=documented(Page[Incident], query=IncidentQuery, conditional=True, read_after=True),
)
async def list_incidents(request: Request[Any, Any, Any]) -> Answer:
    return await list_page(request, INCIDENTS, read_query(request, IncidentQuery))


@get(_ONE, summary="One incident", opt=documented(Incident, conditional=True, read_after=True, statuses=(404,)))
async def get_incident(request: Request[Any, Any, Any], incident_id: str) -> Answer:
    return await get_item(request, INCIDENTS, incident_id)


@post(
    wire.INCIDENTS,
    summary="Report an incident",
    opt=documented_write(Incident, body=NewIncident, status=201, if_match=False),
)
async def create_incident(request: Request[Any, Any, Any]) -> Answer:
    principal = require(request, INCIDENTS.write)
    new = await read_body(request, NewIncident)
    refuse(problems_of_incident(new))
    values = (new.id, new.region, new.severity, new.title, new.detail, principal.client_id)
    created = await write(request, INCIDENTS, item_sql.CREATE_INCIDENT, *values)
    return created or await exists_already(request, INCIDENTS, str(new.id))


@patch(
    _ONE,
    summary="Change or close an incident (JSON merge patch)",
    opt=documented_write(Incident, body=IncidentPatch, statuses=(409,)),
)
async def update_incident(request: Request[Any, Any, Any], incident_id: str) -> Answer:
    require(request, INCIDENTS.write)
    key = INCIDENTS.key(incident_id)
    expected = if_match(header(request, b"if-match"))
    change = await read_body(request, IncidentPatch)
    refuse_empty(change)
    refuse(problems_of_incident(change))
    try:
        changed = await write(request, INCIDENTS, item_sql.UPDATE_INCIDENT, key, expected, *given_or_none(change))
    except asyncpg.UniqueViolationError:
        raise ApiError(409, "another incident of this kind and subject is open: leave this one closed") from None
    return changed or await nothing_was_written(request, INCIDENTS, key)


HANDLERS = [list_incidents, get_incident, create_incident, update_incident]

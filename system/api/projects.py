"""Projects over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
from litestar import Request, Response, delete, get, patch, post

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
from system.domain.rules import ProjectPatch, is_uuid, problems_of_project
from system.store import rows
from system.wire import NewProject, Project, Region, Sector, Status

_ONE = f"{wire.PROJECTS}/{{project_id:str}}"


@get(wire.PROJECTS, summary="Projects, in the order of their ids")
async def list_projects(
    request: Request[Any, Any, Any],
    limit: Limit = LIMIT_DEFAULT,
    after: str | None = None,
    region: Region | None = None,
    sector: Sector | None = None,
    status: Status | None = None,
) -> Json[Page[Project]]:
    if after is not None and not is_uuid(after):
        raise ApiError(400, f"after: expected the cursor of a page before (a UUID), found {after[:60]!r}")
    filters = {"region": region, "sector": sector, "status": status}
    start = None if after is None else UUID(after)
    return await list_page(request, "projects", rows.to_project, filters, limit, start)


@get(_ONE, summary="One project")
async def get_project(request: Request[Any, Any, Any], project_id: str) -> Response[Project]:
    found = await services_of(request).reader.fetch(rows.ONE["projects"], _key(project_id))
    if not found:
        raise _missing(project_id)
    return item(request, rows.to_project(found[0]))


@post(wire.PROJECTS, summary="Create a project")
async def create_project(request: Request[Any, Any, Any]) -> Json[Project]:
    new = await read_body(request, NewProject)
    refuse(problems_of_project(new))
    services = services_of(request)
    values = (
        None if new.id is None else UUID(new.id), new.name, new.region, new.country_code, new.sector,
        new.status, new.funding_usd_millions,
    )  # fmt: skip
    created = await _write(services, rows.CREATE_PROJECT, values, new.country_code)
    if created is None:
        version = await _version(services, str(new.id))
        headers = {} if version is None else {"etag": etag(version)}
        raise ApiError(409, f"a project with the id {new.id} exists already; its ETag is beside this", headers)
    headers = {"location": f"{wire.PROJECTS}/{created.id}", "etag": etag(created.version)}
    return Json(created, status_code=201, headers=headers)


@patch(_ONE, summary="Change a project (JSON merge patch)")
async def update_project(request: Request[Any, Any, Any], project_id: str) -> Json[Project]:
    key = _key(project_id)
    expected = if_match(request.headers.get("if-match"))
    change = await read_body(request, ProjectPatch)
    if change == ProjectPatch():
        raise ApiError(400, f"expected at least one of {', '.join(ProjectPatch.__struct_fields__)}, found none")
    refuse(problems_of_project(change))
    services = services_of(request)
    values = given_or_none(change)
    changed = await _write(services, rows.UPDATE_PROJECT, (key, expected, *values), str(change.country_code))
    if changed is None:
        raise await _missing_or_stale(services, project_id)
    return Json(changed, headers={"etag": etag(changed.version)})


@delete(_ONE, summary="Delete a project")
async def delete_project(request: Request[Any, Any, Any], project_id: str) -> None:
    key = _key(project_id)
    expected = if_match(request.headers.get("if-match"))
    services = services_of(request)
    if not await services.primary.fetch(rows.DELETE_PROJECT, key, expected):
        raise await _missing_or_stale(services, project_id)
    services.hint.send()


async def _write(services: Services, query: str, values: tuple[object, ...], country_code: str) -> Project | None:
    try:
        written = await services.primary.fetch(query, *values)
    except asyncpg.ForeignKeyViolationError:
        raise ApiError(
            400, f"country_code: expected the id of one of {wire.COUNTRIES}, found {country_code!r}"
        ) from None
    if not written:
        return None
    services.hint.send()
    return rows.to_project(written[0])


async def _version(services: Services, project_id: str) -> int | None:
    found = await services.primary.fetch(rows.ONE["projects"], UUID(project_id))
    return rows.to_project(found[0]).version if found else None


async def _missing_or_stale(services: Services, project_id: str) -> ApiError:
    version = await _version(services, project_id)
    if version is None:
        return _missing(project_id)
    return ApiError(
        412,
        f"the project has changed: its ETag is now {etag(version)}; GET it, then try again",
        {"etag": etag(version)},
    )


def _key(project_id: str) -> UUID:
    if not is_uuid(project_id):
        raise _missing(project_id)
    return UUID(project_id)


def _missing(project_id: str) -> ApiError:
    return ApiError(404, f"there is no project with the id {project_id[:60]!r}")


HANDLERS = [list_projects, get_project, create_project, update_project, delete_project]

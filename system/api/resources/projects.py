"""Projects over HTTP: read, create, change and delete them."""

from __future__ import annotations

from typing import Any, Literal

import asyncpg
from litestar import Request, delete, get, patch, post

from system import wire
from system.api.auth.authorization import principal_of, require
from system.api.auth.tokens import Principal
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
    amount,
    exists_already,
    get_item,
    list_page,
    nothing_was_written,
    only_region,
    text,
    write,
)
from system.domain.validation import ProjectPatch, is_uuid, problems_of_project
from system.store import item_sql
from system.store.item_sql import Write
from system.wire import NewProject, Project, Region, Sector, Status

_ONE = f"{wire.PROJECTS}/{{project_id:str}}"


class ProjectQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: Region | None = None
    sector: Sector | None = None
    status: Status | None = None
    sort: Literal["id", "-id", "name", "-name", "funding_usd_millions", "-funding_usd_millions"] = "id"


PROJECTS = Resource(
    aggregate="projects", noun="project", path=wire.PROJECTS, kind=Project, is_id=is_uuid,
    filters=("region", "sector", "status"), sorts={"name": text, "funding_usd_millions": amount},
    read="read", write="write-projects",
)  # fmt: skip


@get(
    wire.PROJECTS,
    summary="Projects, page by page",
    opt=documented(Page[Project], query=ProjectQuery, conditional=True, read_after=True),
)
async def list_projects(request: Request[Any, Any, Any]) -> Answer:
    return await list_page(request, PROJECTS, read_query(request, ProjectQuery))


@get(_ONE, summary="One project", opt=documented(Project, conditional=True, read_after=True, statuses=(404,)))
async def get_project(request: Request[Any, Any, Any], project_id: str) -> Answer:
    return await get_item(request, PROJECTS, project_id)


@post(
    wire.PROJECTS,
    summary="Create a project",
    opt=documented_write(Project, body=NewProject, status=201, if_match=False),
)
async def create_project(request: Request[Any, Any, Any]) -> Answer:
    _may_write_some(request)
    new = await read_body(request, NewProject)
    refuse(problems_of_project(new))
    require(request, PROJECTS.write, new.region)
    values = (new.id, new.name, new.region, new.country_code, new.sector, new.status, new.funding_usd_millions)
    created = await _write(request, item_sql.CREATE_PROJECT, new.country_code, *values)
    return created or await exists_already(request, PROJECTS, str(new.id))


@patch(_ONE, summary="Change a project (JSON merge patch)", opt=documented_write(Project, body=ProjectPatch))
async def update_project(request: Request[Any, Any, Any], project_id: str) -> Answer:
    principal = _may_write_some(request)
    key = PROJECTS.key(project_id)
    expected = if_match(header(request, b"if-match"))
    change = await read_body(request, ProjectPatch)
    refuse_empty(change)
    refuse(problems_of_project(change))
    if isinstance(change.region, str):
        require(request, PROJECTS.write, change.region)
    values = (key, expected, only_region(principal), *given_or_none(change))
    changed = await _write(request, item_sql.UPDATE_PROJECT, str(change.country_code), *values)
    return changed or await nothing_was_written(request, PROJECTS, key)


@delete(_ONE, summary="Delete a project", opt=documented_write(None, status=204), status_code=200)
async def delete_project(request: Request[Any, Any, Any], project_id: str) -> Answer:
    principal = _may_write_some(request)
    key = PROJECTS.key(project_id)
    expected = if_match(header(request, b"if-match"))
    deleted = await write(request, PROJECTS, item_sql.DELETE_PROJECT, key, expected, only_region(principal))
    return deleted or await nothing_was_written(request, PROJECTS, key)


def _may_write_some(request: Request[Any, Any, Any]) -> Principal:
    """Refuse a client that may write no project at all, before its request's body is read."""
    return require(request, PROJECTS.write, principal_of(request).region)


async def _write(
    request: Request[Any, Any, Any], statement: Write, country_code: str, *values: object
) -> Answer | None:
    try:
        return await write(request, PROJECTS, statement, *values)
    except asyncpg.ForeignKeyViolationError:
        expected = f"country_code: expected the id of one of {wire.COUNTRIES}"
        raise ApiError(400, f"{expected}, found {country_code!r}") from None


HANDLERS = [list_projects, get_project, create_project, update_project, delete_project]

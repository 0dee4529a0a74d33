"""Machine clients over HTTP, for admins only. Secrets are sent in as hashes and are never returned."""

from __future__ import annotations

from typing import Any, Literal

import asyncpg
from litestar import Request, delete, get, patch, post
from msgspec import UNSET

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
    list_page,
    nothing_was_written,
    write,
)
from system.domain.validation import UserPatch, is_user_id, problems_of_user
from system.store import item_sql
from system.wire import NewUser, Region, Role, User

_ONE = f"{wire.USERS}/{{user_id:str}}"


class UserQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Role | None = None
    region: Region | None = None
    sort: Literal["id", "-id"] = "id"


USERS = Resource(
    aggregate="users", noun="user", path=wire.USERS, kind=User, is_id=is_user_id, filters=("role", "region"), sorts={},
    read="read-users", write="write-users",
)  # fmt: skip


@get(
    wire.USERS,
    summary="Machine clients, page by page",
    opt=documented(Page[User], query=UserQuery, conditional=True, read_after=True, statuses=(403,)),
)
async def list_users(request: Request[Any, Any, Any]) -> Answer:
    return await list_page(request, USERS, read_query(request, UserQuery))


@get(_ONE, summary="One machine client", opt=documented(User, conditional=True, read_after=True, statuses=(403, 404)))
async def get_user(request: Request[Any, Any, Any], user_id: str) -> Answer:
    return await get_item(request, USERS, user_id)


@post(
    wire.USERS,
    summary="Create a machine client",
    opt=documented_write(User, body=NewUser, status=201, if_match=False),
)
async def create_user(request: Request[Any, Any, Any]) -> Answer:
    require(request, USERS.write)
    new = await read_body(request, NewUser)
    refuse(problems_of_user(new))
    values = (new.id, new.role, new.region, new.rate_per_s, new.secret_sha256)
    created = await write(request, USERS, item_sql.CREATE_USER, *values)
    return created or await exists_already(request, USERS, new.id)


@patch(_ONE, summary="Change a machine client (JSON merge patch)", opt=documented_write(User, body=UserPatch))
async def update_user(request: Request[Any, Any, Any], user_id: str) -> Answer:
    require(request, USERS.write)
    key = USERS.key(user_id)
    expected = if_match(header(request, b"if-match"))
    change = await read_body(request, UserPatch)
    refuse_empty(change)
    refuse(problems_of_user(change))
    role, region, *others = given_or_none(change)
    values = (key, expected, role, change.region is not UNSET, region, *others)
    try:
        changed = await write(request, USERS, item_sql.UPDATE_USER, *values)
    except asyncpg.CheckViolationError:
        raise ApiError(400, "region: expected one for a steward and null for every other role") from None
    return changed or await nothing_was_written(request, USERS, key)


@delete(
    _ONE,
    summary="Delete a machine client; its tokens end within 15 minutes",
    opt=documented_write(None, status=204),
    status_code=200,
)
async def delete_user(request: Request[Any, Any, Any], user_id: str) -> Answer:
    require(request, USERS.write)
    key = USERS.key(user_id)
    expected = if_match(header(request, b"if-match"))
    deleted = await write(request, USERS, item_sql.DELETE_USER, key, expected)
    return deleted or await nothing_was_written(request, USERS, key)


HANDLERS = [list_users, get_user, create_user, update_user, delete_user]

"""The OpenAPI document. It is generated from the handlers and from the types that decode requests and encode answers,
so that it cannot differ from what the code does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, get_args

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler

from system import wire
from system.api.http.messages import Answer
from system.domain import validation
from system.domain.money import LARGEST_GDP_USD_BILLIONS, LARGEST_USD_MILLIONS
from system.wire import Problem

_REFERENCE = "#/components/schemas/{name}"
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}]
_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": f"Signed by POST to {wire.TOKENS}; valid for 15 minutes, also for a client disabled meanwhile.",
    }
}
_IF_MATCH = (
    "If-Match",
    True,
    "The ETag of the version to change, or `*` for any.",
    r'^(\*|"[0-9]{1,16}-[0-9]{1,18}")$',
)
_IF_NONE_MATCH = ("If-None-Match", False, "ETags that the client has: 304 if one is still right.", None)
_KEY = (
    wire.IDEMPOTENCY_KEY, False, "Repeated within 24 hours with the same request: the first one's answer, and nothing "
    "is changed.", "^[ -~]{1,255}$",
)  # fmt: skip
_READ_AFTER = (
    wire.READ_AFTER, False, f"What {wire.WRITTEN} held on the answer to a write: this read sees it.",
    "^[1-9][0-9]{0,17}$",
)  # fmt: skip
_ETAG = ("ETag", "The incarnation and the version, for If-Match and If-None-Match.")
_WRITTEN = (wire.WRITTEN, "Names this write, for Covenant-Read-After.")
_REPLAYED = (wire.IDEMPOTENCY_REPLAYED, "`true` if this is the answer to an earlier request with the same key.")
_LOCATION = ("Location", "The path of what was created.")
_RETRY_AFTER = ("Retry-After", "Seconds until it may be worth another try.")
_CHALLENGE = ("WWW-Authenticate", "What is wrong with the token, or which scope it lacks.")
_HEADERS_OF = {401: [_CHALLENGE], 403: [_CHALLENGE], 429: [_RETRY_AFTER], 503: [_RETRY_AFTER]}


_UUID = {"format": "uuid"}
_PRINTABLE = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
_USER_ID = {"pattern": "^[a-z0-9][a-z0-9-]{1,62}$"}
_LIMITS: dict[str, dict[str, Any]] = {
    "NewProject.id": _UUID,
    "NewIncident.id": _UUID,
    "NewUser.id": _USER_ID,
    "name": {"minLength": 1, "maxLength": validation.NAME_LENGTH_MAX, "pattern": _PRINTABLE},
    "country_code": {"pattern": "^[A-Z]{3}$"},
    "funding_usd_millions": {"minimum": 0, "maximum": float(LARGEST_USD_MILLIONS)},
    "gdp_usd_billions": {"minimum": 0, "maximum": float(LARGEST_GDP_USD_BILLIONS)},
    "CountryPatch.gdp_year": {"minimum": validation.GDP_YEAR_MIN, "maximum": validation.GDP_YEAR_MAX},
    "gdp_source": {"minLength": 1, "maxLength": validation.SOURCE_LENGTH_MAX, "pattern": _PRINTABLE},
    "title": {"minLength": 1, "maxLength": validation.TITLE_LENGTH_MAX, "pattern": _PRINTABLE},
    "detail": {"maxLength": validation.DETAIL_LENGTH_MAX},
    "rate_per_s": {"minimum": 1, "maximum": validation.RATE_PER_S_MAX},
    "secret_sha256": {"pattern": "^[0-9a-f]{64}$"},
}
"""What `system.domain.validation` requires of a field: by field, or by struct and field."""
_TAKEN = (
    wire.NewProject, wire.NewUser, wire.NewIncident, validation.ProjectPatch, validation.CountryPatch,
    validation.UserPatch, validation.IncidentPatch,
)  # fmt: skip
_IDS = {
    "project_id": {**_UUID, "type": "string"},
    "incident_id": {**_UUID, "type": "string"},
    "country_id": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "user_id": {"type": "string", **_USER_ID},
    "region_id": {"type": "string", "enum": list(get_args(wire.Region))},
}


class Documented(msgspec.Struct, frozen=True, kw_only=True):
    """What the document says of a handler, besides path, method and summary."""

    answer: Any
    status: int
    query: type[msgspec.Struct] | None
    body: type[msgspec.Struct] | None
    statuses: tuple[int, ...]
    request_headers: tuple[tuple[str, bool, str, str | None], ...]
    answer_headers: tuple[tuple[str, str], ...]
    media_type: str
    signed_in: bool


def documented(
    answer: Any, *, query: type[msgspec.Struct] | None = None, body: type[msgspec.Struct] | None = None,
    status: int = 200, statuses: tuple[int, ...] = (), conditional: bool = False, read_after: bool = False,
    media_type: str = "application/json", signed_in: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """The `opt` of a handler that reads. `statuses`: those that the handler adds to 400, 429 and 503, and to 401 if the
    client must be `signed_in`."""
    always = (400, 401, 429, 503) if signed_in else (400, 429, 503)
    extra = ((413, 415) if body else ()) + ((304,) if conditional else ())
    return {
        "documented": Documented(
            answer=answer, status=status, query=query, body=body, statuses=(*always, *extra, *statuses),
            request_headers=(*((_IF_NONE_MATCH,) if conditional else ()), *((_READ_AFTER,) if read_after else ())),
            answer_headers=(_ETAG,) if conditional else (), media_type=media_type, signed_in=signed_in,
        )
    }  # fmt: skip


def documented_write(
    answer: Any, *, body: type[msgspec.Struct] | None = None, status: int = 200, if_match: bool = True,
    statuses: tuple[int, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """The `opt` of a handler that writes. It adds 403 (not allowed) and 422 (the key was used for another request)."""
    condition = (404, 412, 428) if if_match else (409,)
    described = documented(answer, body=body, status=status, statuses=(403, 422, *condition, *statuses))["documented"]
    headers = (_WRITTEN, _REPLAYED, *((_ETAG,) if answer else ()), *((_LOCATION,) if status == 201 else ()))
    requests = (_KEY, _IF_MATCH) if if_match else (_KEY,)
    return {"documented": msgspec.structs.replace(described, request_headers=requests, answer_headers=headers)}


@get(wire.OPENAPI)
async def openapi(request: Request[Any, Any, Any]) -> Answer:
    return Answer(request.app.state.openapi, media_type=b"application/vnd.oai.openapi+json")


def document(handlers: Iterable[HTTPRouteHandler]) -> bytes:
    """The OpenAPI 3.1 document, as JSON, of the handlers that are `documented`."""
    handlers = [handler for handler in handlers if "documented" in handler.opt]
    said: list[Documented] = [handler.opt["documented"] for handler in handlers]
    types = [kind for one in said for kind in (one.answer, one.body) if kind is not None]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=_REFERENCE)
    known = dict(zip([repr(kind) for kind in types] + [repr(Problem)], schemas, strict=True))
    for kind in _TAKEN:
        _limit(kind.__name__, components[kind.__name__]["properties"])
    paths: dict[str, dict[str, Any]] = {}
    for handler in handlers:
        [path], [method] = handler.paths, handler.http_methods
        path = re.sub(r"{(\w+):\w+}", r"{\1}", path)
        paths.setdefault(path, {})[method.lower()] = _operation(path, handler, known)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Covenant", "version": "1"},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY_SCHEMES},
    }
    return msgspec.json.encode(with_numbers(whole))


def _limit(struct: str, properties: dict[str, dict[str, Any]]) -> None:
    for name, schema in properties.items():
        limits = _LIMITS.get(f"{struct}.{name}") or _LIMITS.get(name)
        if limits:
            [of_values] = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
            of_values.update(limits)


def _operation(path: str, handler: HTTPRouteHandler, schemas: dict[str, Any]) -> dict[str, Any]:
    said: Documented = handler.opt["documented"]
    operation: dict[str, Any] = {
        "operationId": handler.handler_name,
        "summary": handler.summary,
        "parameters": [*_path_parameters(path), *_query_parameters(said.query), *_headers(said.request_headers)],
        "responses": {str(said.status): _answer(said, schemas)},
    }
    if said.signed_in:
        operation["security"] = _SECURITY
    if said.body is not None:
        content = {"application/json": {"schema": schemas[repr(said.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    for status in sorted(set(said.statuses)):
        operation["responses"][str(status)] = _problem(status, schemas)
    return operation


def _answer(said: Documented, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": HTTPStatus(said.status).phrase,
        "headers": _header_objects(said.answer_headers),
    }
    if said.answer is not None:
        answer["content"] = {said.media_type: {"schema": schemas[repr(said.answer)]}}
    return answer


def _problem(status: int, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status == 304:
        return {**answer, "headers": _header_objects((_ETAG,))}
    answer["headers"] = _header_objects(tuple(_HEADERS_OF.get(status, ())))
    answer["content"] = {"application/problem+json": {"schema": schemas[repr(Problem)]}}
    return answer


def _header_objects(headers: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {name: {"description": description, "schema": {"type": "string"}} for name, description in headers}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": _IDS[name]} for name in names]


def _headers(headers: tuple[tuple[str, bool, str, str | None], ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": name, "in": "header", "required": required, "description": description,
            "schema": {"type": "string", **({"pattern": pattern} if pattern else {})},
        }
        for name, required, description, pattern in headers
    ]  # fmt: skip


def _query_parameters(query: type[msgspec.Struct] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    properties = msgspec.json.schema(query)["$defs"][query.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": _not_null(schema)}
            for name, schema in properties.items()]  # fmt: skip


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without null: a query parameter is absent rather than null."""
    kept: dict[str, Any] = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
    if "anyOf" in kept:
        [kept] = [one for one in kept["anyOf"] if one.get("type") != "null"]
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value is not None]
    return kept


def with_numbers(node: Any) -> Any:
    """The schema with decimals as numbers, as they are on the wire, where msgspec says strings."""
    if isinstance(node, dict):
        if node.get("type") == "string" and node.get("format") == "decimal":
            return {**{key: value for key, value in node.items() if key != "format"}, "type": "number"}
        return {key: with_numbers(value) for key, value in node.items()}
    return [with_numbers(one) for one in node] if isinstance(node, list) else node

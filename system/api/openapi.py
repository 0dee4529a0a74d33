"""The OpenAPI document: Litestar's, with the bodies that the handlers read themselves (to keep decimals exact)
and with money as the number that it is on the wire."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get

from system import wire
from system.domain.rules import CountryPatch, ProjectPatch

_REFERENCE = "#/components/schemas/{name}"
_BODIES: dict[tuple[str, str], type[msgspec.Struct]] = {
    (wire.PROJECTS, "post"): wire.NewProject,
    (f"{wire.PROJECTS}/{{project_id}}", "patch"): ProjectPatch,
    (f"{wire.COUNTRIES}/{{country_id}}", "patch"): CountryPatch,
}


@get(wire.OPENAPI, include_in_schema=False)
async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(_document(request.app), media_type="application/vnd.oai.openapi+json")


@cache
def _document(app: Litestar) -> bytes:
    document = app.openapi_schema.to_schema()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    references, components = msgspec.json.schema_components(_BODIES.values(), ref_template=_REFERENCE)
    schemas.update(components)
    for (path, method), reference in zip(_BODIES, references, strict=True):
        body = {"required": True, "content": {"application/json": {"schema": reference}}}
        document["paths"][path][method]["requestBody"] = body
    return msgspec.json.encode(_with_numbers(document))


def _with_numbers(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("type") == "string" and node.get("format") == "decimal":
            return {**{key: value for key, value in node.items() if key != "format"}, "type": "number"}
        return {key: _with_numbers(value) for key, value in node.items()}
    return [_with_numbers(one) for one in node] if isinstance(node, list) else node

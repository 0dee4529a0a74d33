"""The web app's files, read once and served from memory. Each has an ETag, so that a browser which has the file gets a
304. The content security policy lets pages load from their own origin only.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from system.api.http.messages import none_match

_FOLDER = Path(__file__).parents[1] / "web"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def handlers() -> list[HTTPRouteHandler]:
    """A handler for each file of the web app."""
    return [_handler(path, *file) for path, file in _FILES.items()]


def _handler(path: str, name: str, media_type: str) -> HTTPRouteHandler:
    content = (_FOLDER / name).read_bytes()
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {
        "etag": tag,
        "cache-control": "no-cache",
        "content-type": media_type,
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }

    @get(path, include_in_schema=False, name=name)
    async def serve(request: Request[Any, Any, Any]) -> Response[bytes]:
        if none_match(request.headers.get("if-none-match"), tag):
            return Response(b"", status_code=304, headers=headers)
        return Response(content, headers=headers)

    return serve

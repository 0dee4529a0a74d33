"""The two writes with which a probe tries whether an event goes through, over HTTP like any client's."""

from __future__ import annotations

import urllib.error
import urllib.request
from decimal import Decimal
from email.message import Message

import msgspec

from system import wire

_TIMEOUT_S = 5.0
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Refused(Exception):
    """The API answered with another status than was expected; says which."""


def create_project(base: str, project_id: str) -> str:
    """Create a project with this id at the API `base`; its ETag. Refused, OSError."""
    project = wire.NewProject(
        id=project_id, name="steady-state probe", region="iad", country_code="USA", sector="Energy",
        status="Active", funding_usd_millions=Decimal("0.01"),
    )  # fmt: skip
    body = _ENCODER.encode(project)
    request = urllib.request.Request(base + wire.PROJECTS, body, {"Content-Type": "application/json"})
    return _send(request, 201)["ETag"]


def delete_project(base: str, project_id: str, etag: str) -> None:
    """Delete it again. Refused, OSError."""
    headers = {"If-Match": etag}
    _send(urllib.request.Request(f"{base}{wire.PROJECTS}/{project_id}", headers=headers, method="DELETE"), 204)


def _send(request: urllib.request.Request, expected: int) -> Message:
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            status, text = int(answer.status), ""
            headers: Message = answer.headers
    except urllib.error.HTTPError as error:
        status, text, headers = error.code, error.read(500).decode(errors="replace"), error.headers
    if status != expected:
        raise Refused(f"{request.method} {request.full_url}: expected {expected}, found {status} {text}")
    return headers

"""The two writes with which a probe tries whether an event goes through, over HTTP like any client's, and how it sees
that the event has arrived."""

from __future__ import annotations

import urllib.error
import urllib.request
from decimal import Decimal
from email.message import Message

import msgspec

from system import wire
from system.wire import observer

_TIMEOUT_S = 5.0
_ENCODER = msgspec.json.Encoder(decimal_format="number")


APPLIED = f"""
select 1 from {observer.EVENTS} e join {observer.CONSUMER_POSITIONS} c using (partition)
where e.aggregate = 'projects' and e.aggregate_id = %s and c.consumer = 'analytics' and c.position >= e.position
"""
"""SQL for an observer: a row once analytics has applied the event of this project."""


class Refused(Exception):
    """The API answered with another status than was expected; says which."""


def create_project(base: str, token: str, project_id: str, region: wire.Region) -> str:
    """Create a project with this id in a region, at the API `base`, with the token of the region's steward; its ETag.
    Refused, OSError."""
    project = wire.NewProject(
        id=project_id, name="steady-state probe", region=region, country_code="USA", sector="Energy",
        status="Active", funding_usd_millions=Decimal("0.01"),
    )  # fmt: skip
    headers = {"Content-Type": "application/json", **_bearer(token)}
    return _send(urllib.request.Request(base + wire.PROJECTS, _ENCODER.encode(project), headers), 201)["ETag"]


def delete_project(base: str, token: str, project_id: str, etag: str) -> None:
    """Delete it again. Refused, OSError."""
    headers = {"If-Match": etag, **_bearer(token)}
    _send(urllib.request.Request(f"{base}{wire.PROJECTS}/{project_id}", headers=headers, method="DELETE"), 204)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _send(request: urllib.request.Request, expected: int) -> Message:
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            status, text = int(answer.status), ""
            headers: Message = answer.headers
    except urllib.error.HTTPError as error:
        status, text, headers = error.code, error.read(500).decode(errors="replace"), error.headers
    if status != expected:
        raise Refused(f"{request.get_method()} {request.full_url}: expected {expected}, found {status} {text}")
    return headers

"""Who may do what, tried from outside: every kind of caller tries every action at a region's API, and each answer is a
fact of the row security.access.

The expectations stand here, written from the contract and not from the system's own table. A refused write must also
have changed nothing. Whatever a cell needs is made before it and removed after it, by the admin, so nothing is left
but the events of these writes and closed incidents, which are never deleted.
"""

from __future__ import annotations

import base64
import json
import secrets
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from checks import NotChecked
from infra.site import clients
from infra.target import Target
from reports.evidence import Count, RunFolder
from system import wire

ROW = "security.access"
_WITHIN_S = 10.0
_COUNTRY = "USA"

Item = dict[str, Any]


class Action(NamedTuple):
    """One thing to try. `path` is a collection's; a write of something that is there goes to the item's own."""

    name: str
    allowed: frozenset[str]
    """The callers who may."""
    method: str
    path: str
    success: int
    body: Callable[[str], Item] | None = None
    """From an id to what has to be sent to have it created; None for reads and for countries, which are there."""
    change: Callable[[Item], Item] | None = None
    """From an item to the merge patch."""


class Answer(NamedTuple):
    status: int
    etag: str | None
    body: bytes

    def item(self) -> Item:
        return dict(json.loads(self.body))


EVERYBODY = frozenset({"reader", "steward", "operator", "admin"})
STRANGERS = ("nobody", "forged")
"""Without a token, and with one that says admin and that nobody signed."""
CALLERS = (*STRANGERS, *sorted(EVERYBODY))
ADMIN = frozenset({"admin"})


def actions(own: str, other: str) -> list[Action]:
    """Everything that is tried; the steward is that of the region `own`."""

    def project(region: str) -> Callable[[str], Item]:
        return lambda name: {
            "id": name, "name": "Access matrix", "region": region, "country_code": _COUNTRY, "sector": "Energy",
            "status": "Pending", "funding_usd_millions": 0.01,
        }  # fmt: skip

    def user(name: str) -> Item:
        return {"id": f"matrix-{name}", "role": "reader", "secret_sha256": secrets.token_hex(32)}

    def incident(name: str) -> Item:
        return {"id": name, "region": own, "severity": "info", "title": "Access matrix"}

    def renamed(_: Item) -> Item:
        return {"name": "Access matrix, renamed"}

    reads = (wire.COUNTRIES, wire.PROJECTS, wire.REGIONS, wire.SECTORS, wire.INCIDENTS, wire.EVENTS)
    stewards, operators = ADMIN | {"steward"}, ADMIN | {"operator"}
    return [
        *(Action(f"read {path}", EVERYBODY, "GET", path, 200) for path in reads),
        Action(f"read {wire.WAKE}", EVERYBODY, "GET", f"{wire.WAKE}?wait_s=0", 200),
        Action(f"read {wire.USERS}", ADMIN, "GET", wire.USERS, 200),
        Action("follow the events of users", ADMIN, "GET", f"{wire.EVENTS}?aggregates=users", 200),
        Action("create a project of the region", stewards, "POST", wire.PROJECTS, 201, project(own)),
        Action("change a project of the region", stewards, "PATCH", wire.PROJECTS, 200, project(own), renamed),
        Action("delete a project of the region", stewards, "DELETE", wire.PROJECTS, 204, project(own)),
        Action("create a project of another region", ADMIN, "POST", wire.PROJECTS, 201, project(other)),
        Action("change a project of another region", ADMIN, "PATCH", wire.PROJECTS, 200, project(other), renamed),
        Action("delete a project of another region", ADMIN, "DELETE", wire.PROJECTS, 204, project(other)),
        Action("move a project out of the region", ADMIN, "PATCH", wire.PROJECTS, 200, project(own),
               lambda _: {"region": other}),
        Action("move a project into the region", ADMIN, "PATCH", wire.PROJECTS, 200, project(other),
               lambda _: {"region": own}),
        Action("correct a country", ADMIN, "PATCH", wire.COUNTRIES, 200, None,
               lambda country: {"gdp_usd_billions": country["gdp_usd_billions"]}),
        Action("report an incident", operators, "POST", wire.INCIDENTS, 201, incident),
        Action("close an incident", operators, "PATCH", wire.INCIDENTS, 200, incident, lambda _: {"status": "closed"}),
        Action("create a user", ADMIN, "POST", wire.USERS, 201, user),
        Action("change a user", ADMIN, "PATCH", wire.USERS, 200, user, lambda _: {"rate_per_s": 2}),
        Action("delete a user", ADMIN, "DELETE", wire.USERS, 204, user),
    ]  # fmt: skip


def record(target: Target, folder: RunFolder) -> None:
    """Try every cell of callers x actions and write a Count for each.

    NotChecked if nothing could be tried: a token that was refused, something that the admin could not make.
    """
    own, other = target.regions[:2]
    api = Api(target.api[own])
    try:
        tokens = {role: clients.token(target, role, own if role == "steward" else None) for role in EVERYBODY}
        matrix = Matrix(api, {**tokens, "nobody": None, "forged": forged()})
        cells = [cell for action in actions(own, other) for cell in matrix.cells(action)]
    except (clients.NoToken, OSError, ValueError) as error:
        raise NotChecked(f"the access matrix could not be tried: {error}") from error
    with folder.facts() as facts:
        facts.add(*cells)


def forged() -> str:
    """A token that says admin, for an hour, with the algorithm `none`."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "admin", "role": "admin", "rate_per_s": 1000, "exp": 2**31})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


class Api:
    """One region's API; every request on a connection of its own."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def send(
        self, method: str, path: str, token: str | None, body: Item | None = None, etag: str | None = None
    ) -> Answer:
        """The answer, whatever its status; of a stream of events only its beginning. OSError if there is none."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"If-Match": etag} if etag is not None else {}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._base_url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_WITHIN_S) as answer:
                endless = answer.headers.get_content_type() == "text/event-stream"
                return Answer(answer.status, answer.headers["ETag"], b"" if endless else answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers["ETag"], error.read())


class Matrix:
    """Tries cells: `tokens` holds each caller's, None for who has none; the admin's makes and removes things."""

    def __init__(self, api: Api, tokens: dict[str, str | None]) -> None:
        self._api = api
        self._tokens = tokens

    def cells(self, action: Action) -> Iterator[Count]:
        """One fact for each caller."""
        for caller in CALLERS:
            expected = action.success if caller in action.allowed else 401 if caller in STRANGERS else 403
            found, changed = self._try(action, self._tokens[caller])
            kept = changed is False or caller in action.allowed
            how = f"{caller}: {action.name}, expected {expected}"
            yield Count(
                row=ROW, value=float(found), unit="status", ok=found == expected and kept,
                how=how if kept else f"{how} and nothing changed, but it was",
            )  # fmt: skip

    def _try(self, action: Action, token: str | None) -> tuple[int, bool]:
        """(status, whether something has changed)."""
        if action.method == "GET":
            return self._api.send("GET", action.path, token).status, False
        new = action.body(str(uuid.uuid4())) if action.body is not None else {"id": _COUNTRY}
        place = f"{action.path}/{new['id']}"
        if action.method == "POST":
            status = self._api.send("POST", action.path, token, new).status
            return status, self._put_right(action, place, "*", new) == 200
        if action.body is not None:
            self._admin("POST", action.path, 201, body=new)
        before = self._admin("GET", place, 200)
        change = action.change(before.item()) if action.change is not None else None
        status = self._api.send(action.method, place, token, change, before.etag).status
        return status, self._put_right(action, place, str(before.etag), before.item()) != 200

    def _put_right(self, action: Action, place: str, etag: str, item: Item) -> int:
        """Remove what was made for a cell, or close it, or leave it as it was; 200 if it was there with this ETag, else
        404 or 412. A write, since it is the primary that answers: a replica may not show yet what another caller did.
        """
        method, body, done = "DELETE", None, 204
        if action.path == wire.INCIDENTS:
            method, body, done = "PATCH", {"status": "closed"}, 200
        elif action.path == wire.COUNTRIES:
            method, body, done = "PATCH", {"gdp_usd_billions": item["gdp_usd_billions"]}, 200
        found = self._admin(method, place, done, 404, 412, body=body, etag=etag).status
        if found == 412:
            self._admin(method, place, done, body=body, etag="*")
        return 200 if found == done else found

    def _admin(
        self, method: str, path: str, *expected: int, body: Item | None = None, etag: str | None = None
    ) -> Answer:
        """ValueError for any other status."""
        answer = self._api.send(method, path, self._tokens["admin"], body, etag)
        if answer.status not in expected:
            wanted = " or ".join(map(str, expected))
            raise ValueError(
                f"{method} {path} as admin: expected {wanted}, found {answer.status} {answer.body[:200]!r}"
            )
        return answer

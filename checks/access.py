"""The access matrix: every kind of caller tries every action at a region's API, and each answer is a fact of the row
security.access.

The expectations are written here from the contract, and not taken from the system's own table. A refused write must
also have changed nothing. The admin makes what a cell needs before it and removes it after it. What remains are the
events of these writes, and closed incidents, which cannot be deleted.
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
    """A column of the matrix. `path` is a collection's; a change or a deletion goes to the path of an item in it."""

    name: str
    allowed: frozenset[str]
    """The callers who may do it."""
    method: str
    path: str
    success: int
    """The status of an allowed request."""
    body: Callable[[str], Item] | None = None
    """Id -> the body that creates an item; None for reads, and for countries, which exist already."""
    change: Callable[[Item], Item] | None = None
    """Item -> the merge patch to send."""


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    etag: str | None
    body: bytes

    def item(self) -> Item:
        """The body, decoded from JSON. ValueError."""
        return dict(json.loads(self.body))


ROLES = frozenset({"reader", "steward", "operator", "admin"})
STRANGERS = ("nobody", "forged")
"""A caller without a token, and one whose token says admin but is not signed."""
CALLERS = (*STRANGERS, *sorted(ROLES))
ADMIN = frozenset({"admin"})


def actions(own: str, other: str) -> list[Action]:
    """All actions that are tried. The steward's region is `own`."""

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
        *(Action(f"read {path}", ROLES, "GET", path, 200) for path in reads),
        Action(f"read {wire.WAKE}", ROLES, "GET", f"{wire.WAKE}?wait_s=0", 200),
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


def expected() -> dict[str, int]:
    """How many facts `record` adds to its row: one for each cell."""
    return {ROW: len(CALLERS) * len(actions(own="", other=""))}


def record(target: Target, folder: RunFolder) -> None:
    """Try every cell of callers x actions, and write a Count for each.

    NotChecked if that is impossible: a token was refused, or the admin could not make an item.
    """
    own, other = target.regions[:2]
    api = Api(target.api[own])
    try:
        tokens = {role: clients.token(target, role, own if role == "steward" else None) for role in ROLES}
        matrix = Matrix(api, {**tokens, "nobody": None, "forged": forged_token()})
        cells = [cell for action in actions(own, other) for cell in matrix.cells(action)]
    except (clients.NoToken, OSError, ValueError) as error:
        raise NotChecked(f"the access matrix could not be tried: {error}") from error
    with folder.facts() as facts:
        facts.add(*cells)


def forged_token() -> str:
    """An unsigned token (algorithm `none`) that says admin."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "admin", "role": "admin", "rate_per_s": 1000, "exp": 2**31})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


class Api:
    """One region's API. Every request has a connection of its own."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def send(
        self, method: str, path: str, token: str | None, body: Item | None = None, etag: str | None = None
    ) -> Answer:
        """The response, whatever its status; of a stream of events only the head. OSError if there is none."""
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
    """Tries cells. `tokens`: caller -> its token, None for the caller without one. The admin makes and removes
    items."""

    def __init__(self, api: Api, tokens: dict[str, str | None]) -> None:
        self._api = api
        self._tokens = tokens

    def cells(self, action: Action) -> Iterator[Count]:
        """Try an action as every caller; a fact for each."""
        for caller in CALLERS:
            expected = action.success if caller in action.allowed else 401 if caller in STRANGERS else 403
            found, changed = self._try(action, self._tokens[caller])
            kept = changed is False or caller in action.allowed
            how = f"{caller}: {action.name}, expected {expected}"
            how += "" if found == expected else f", found {found}"
            how += "" if kept else " and nothing changed, but it was"
            ok = found == expected and kept
            yield Count(row=ROW, value=0.0 if ok else 1.0, unit="wrong", how=how, ok=ok)

    def _try(self, action: Action, token: str | None) -> tuple[int, bool]:
        """Try an action with a token: (status, whether anything has changed)."""
        if action.method == "GET":
            return self._api.send("GET", action.path, token).status, False
        new = action.body(str(uuid.uuid4())) if action.body is not None else {"id": _COUNTRY}
        path = f"{action.path}/{new['id']}"
        if action.method == "POST":
            status = self._api.send("POST", action.path, token, new).status
            return status, self._restore(action, path, "*", new) == 200
        if action.body is not None:
            self._admin("POST", action.path, 201, body=new)
        before = self._admin("GET", path, 200)
        change = action.change(before.item()) if action.change is not None else None
        status = self._api.send(action.method, path, token, change, before.etag).status
        return status, self._restore(action, path, str(before.etag), before.item()) != 200

    def _restore(self, action: Action, path: str, etag: str, item: Item) -> int:
        """Remove the item of a cell, close it (an incident), or set it back (a country). 200 if it existed with this
        ETag, else 404 or 412.

        It is a write, since the primary answers a write: a replica may not show yet what another caller did.
        """
        method, body, done = "DELETE", None, 204
        if action.path == wire.INCIDENTS:
            method, body, done = "PATCH", {"status": "closed"}, 200
        elif action.path == wire.COUNTRIES:
            method, body, done = "PATCH", {"gdp_usd_billions": item["gdp_usd_billions"]}, 200
        found = self._admin(method, path, done, 404, 412, body=body, etag=etag).status
        if found == 412:
            self._admin(method, path, done, body=body, etag="*")
        return 200 if found == done else found

    def _admin(
        self, method: str, path: str, *expected: int, body: Item | None = None, etag: str | None = None
    ) -> Answer:
        """Send a request as the admin. ValueError for a status that is not `expected`."""
        answer = self._api.send(method, path, self._tokens["admin"], body, etag)
        if answer.status not in expected:
            wanted = " or ".join(map(str, expected))
            raise ValueError(
                f"{method} {path} as admin: expected {wanted}, found {answer.status} {answer.body[:200]!r}"
            )
        return answer

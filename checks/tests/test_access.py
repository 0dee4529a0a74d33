"""The access matrix: its cells, what a wrong cell looks like, and every cell on the running system."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

import pytest

from checks import access as access_facts
from checks.access import CALLERS, ROLES, ROW, Action, Answer, Api, Item, Matrix, actions, forged_token
from infra.target import Target
from loadtests.conftest import api as api
from loadtests.tests.load_servers import serving
from reports.evidence import RunFolder
from system import wire

ACTIONS = actions("iad", "ams")


def test_every_path_of_the_api_is_in_the_matrix_and_every_write_is_tried_in_both_ways() -> None:
    assert {action.path.partition("?")[0] for action in ACTIONS} == {
        wire.COUNTRIES, wire.PROJECTS, wire.REGIONS, wire.SECTORS, wire.INCIDENTS, wire.USERS, wire.EVENTS, wire.WAKE,
    }  # fmt: skip
    assert Counter(action.method for action in ACTIONS) == {"GET": 9, "PATCH": 7, "POST": 4, "DELETE": 3}
    assert len(ACTIONS) * len(CALLERS) == 138
    assert len({action.name for action in ACTIONS}) == len(ACTIONS)
    for action in ACTIONS:
        assert "admin" in action.allowed
        assert action.allowed <= ROLES


def test_only_a_steward_and_only_in_its_region_writes_projects_beside_the_admin() -> None:
    allowed = {action.name: set(action.allowed) for action in ACTIONS if action.path == wire.PROJECTS}
    assert {name for name, who in allowed.items() if "steward" in who} == {
        f"read {wire.PROJECTS}", "create a project of the region", "change a project of the region",
        "delete a project of the region",
    }  # fmt: skip


def test_the_forged_token_says_admin_and_has_no_signature() -> None:
    header, claims, signature = forged_token().split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "none", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["role"] == "admin"
    assert signature == ""


def test_an_api_that_lets_a_caller_in_is_a_wrong_cell() -> None:
    users = next(action for action in ACTIONS if action.name == f"read {wire.USERS}")
    with serving() as api:
        api.tokens = [*ROLES]
        matrix = Matrix(Api(api.url), {**{role: role for role in ROLES}, "nobody": None, "forged": "forged"})
        cells = {cell.how: cell.ok for cell in matrix.cells(users)}
    assert cells == {
        f"nobody: read {wire.USERS}, expected 401": True,
        f"forged: read {wire.USERS}, expected 401": True,
        f"admin: read {wire.USERS}, expected 200": True,
        f"operator: read {wire.USERS}, expected 403, found 200": False,
        f"reader: read {wire.USERS}, expected 403, found 200": False,
        f"steward: read {wire.USERS}, expected 403, found 200": False,
    }


class LateReads(Api):
    """An API in memory that does everything for every caller, but admits it only to callers who may. Its reads never
    show the writes of others, as if its replica lagged for ever, so a check that relies on them fails."""

    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._allowed = allowed
        self.items: dict[str, tuple[int, Item]] = {}
        self._seen: dict[str, tuple[int, Item]] = {}

    def send(
        self, method: str, path: str, token: str | None, body: Item | None = None, etag: str | None = None
    ) -> Answer:
        shown = self.items if method != "GET" else self._seen
        if method == "POST":
            path = f"{path}/{(body or {})['id']}"
            shown[path] = (1, dict(body or {}))
        if path not in shown:
            return Answer(404, None, b"")
        version, item = shown[path]
        if etag not in (None, "*", f'"{version}"'):
            return Answer(412, None, b"")
        if method == "PATCH":
            version, item = shown[path] = (version + 1, {**item, **(body or {})})
        elif method == "DELETE":
            del shown[path]
        if token == "admin":
            self._seen = dict(self.items)  # The admin sees its own writes.
        success = {"POST": 201, "DELETE": 204}.get(method, 200)
        status = success if token in self._allowed else 401 if token in (None, "forged") else 403
        return Answer(status, f'"{version}"', json.dumps(item).encode())


@pytest.mark.parametrize("action", [action for action in ACTIONS if action.method != "GET"], ids=lambda one: one.name)
def test_a_write_is_judged_by_what_it_did_and_not_by_a_late_read(action: Action) -> None:
    api = LateReads(action.allowed)
    place = f"{wire.COUNTRIES}/USA"
    api.items[place] = (1, {"id": "USA", "gdp_usd_billions": 1})
    api.send("PATCH", place, "admin", {})
    tokens = {role: role for role in ROLES}
    for cell in Matrix(api, {**tokens, "nobody": None, "forged": "forged"}).cells(action):
        caller = cell.how.partition(":")[0]
        # The API did what every caller asked, and denied it to those who may not.
        assert cell.ok == (caller in action.allowed), cell.how
        assert cell.how.endswith("and nothing changed, but it was") == (caller not in action.allowed)
    closed = {item["status"] for path, (_, item) in api.items.items() if path.startswith(wire.INCIDENTS)}
    assert closed <= {"closed"}
    assert {path.rpartition("/")[0] for path in api.items} <= {wire.COUNTRIES, wire.INCIDENTS}


@pytest.mark.running
def test_every_cell_holds_on_the_running_system(target: Target, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    access_facts.record(target, folder)
    cells = [count for count in folder.counts() if count.row == ROW]
    assert len(cells) == len(ACTIONS) * len(CALLERS)
    assert [cell.how for cell in cells if not cell.ok] == []

"""The access matrix: which cells there are, what a wrong one looks like, and every cell on the running system."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

import pytest
from load_servers import Api as LaxApi

from infra.target import Target
from loadtests import access_facts
from loadtests.access_facts import CALLERS, EVERYBODY, ROW, Api, Matrix, actions, forged
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
        assert action.allowed <= EVERYBODY


def test_only_a_steward_and_only_in_its_region_writes_projects_beside_the_admin() -> None:
    allowed = {action.name: set(action.allowed) for action in ACTIONS if action.path == wire.PROJECTS}
    assert {name for name, who in allowed.items() if "steward" in who} == {
        f"read {wire.PROJECTS}", "create a project of the region", "change a project of the region",
        "delete a project of the region",
    }  # fmt: skip


def test_the_forged_token_says_admin_and_has_no_signature() -> None:
    header, claims, signature = forged().split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "none", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["role"] == "admin"
    assert signature == ""


def test_an_api_that_lets_a_caller_in_is_a_wrong_cell(api: LaxApi) -> None:
    api.tokens = [*EVERYBODY]
    matrix = Matrix(Api(api.url), {**{role: role for role in EVERYBODY}, "nobody": None, "forged": "forged"})
    users = next(action for action in ACTIONS if action.name == f"read {wire.USERS}")
    cells = {cell.how: cell.ok for cell in matrix.cells(users)}
    assert cells == {
        f"nobody: read {wire.USERS}, expected 401": True,
        f"forged: read {wire.USERS}, expected 401": True,
        f"admin: read {wire.USERS}, expected 200": True,
        f"operator: read {wire.USERS}, expected 403": False,
        f"reader: read {wire.USERS}, expected 403": False,
        f"steward: read {wire.USERS}, expected 403": False,
    }


@pytest.mark.running
def test_every_cell_holds_on_the_running_system(target: Target, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    access_facts.record(target, folder)
    cells = [count for count in folder.counts() if count.row == ROW]
    assert len(cells) == len(ACTIONS) * len(CALLERS)
    assert [f"{cell.how}: found {cell.value:g}" for cell in cells if not cell.ok] == []

"""Authentication and authorization over HTTP: every role with every action, bad tokens, limits, recorded refusals."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from system import wire
from system.api.auth.tests.test_tokens import BAD_TOKENS
from system.api.auth.tokens import Tokens
from system.tests.api_process import SECRET, USERS, Api
from system.tests.servers import wait_until

NEW_PROJECT = {
    "name": "Solar Park", "region": "ams", "country_code": "FRA", "sector": "Energy", "status": "Active",
    "funding_usd_millions": 1.5,
}  # fmt: skip
NEW_INCIDENT = {"region": "ams", "severity": "warning", "title": "A cable was cut"}


def new_user() -> dict[str, Any]:
    return {"id": f"user-{uuid.uuid4()}", "role": "reader", "secret_sha256": "0" * 64}


def made(api: Api, path: str, body: dict[str, Any]) -> str:
    """The path of a new item that an admin made."""
    with api.client("admin") as client:
        answer = client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["location"])


def change(client: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    return client.patch(path, json=body, headers={"if-match": "*"})


READERS = frozenset(USERS)
STEWARDS = frozenset({"steward-ams", "admin"})
ACTIONS: dict[str, tuple[frozenset[str], Any]] = {
    "list countries": (READERS, lambda api, client: client.get(wire.COUNTRIES)),
    "get a country": (READERS, lambda api, client: client.get(f"{wire.COUNTRIES}/FRA")),
    "list projects": (READERS, lambda api, client: client.get(wire.PROJECTS)),
    "get a project": (READERS, lambda api, client: client.get(made(api, wire.PROJECTS, NEW_PROJECT))),
    "list regions": (READERS, lambda api, client: client.get(wire.REGIONS)),
    "get a region": (READERS, lambda api, client: client.get(f"{wire.REGIONS}/ams")),
    "list sectors": (READERS, lambda api, client: client.get(wire.SECTORS)),
    "list incidents": (READERS, lambda api, client: client.get(wire.INCIDENTS)),
    "get an incident": (READERS, lambda api, client: client.get(made(api, wire.INCIDENTS, NEW_INCIDENT))),
    "list users": (frozenset({"admin"}), lambda api, client: client.get(wire.USERS)),
    "get a user": (frozenset({"admin"}), lambda api, client: client.get(f"{wire.USERS}/reader")),
    "create a project": (STEWARDS, lambda api, client: client.post(wire.PROJECTS, json=NEW_PROJECT)),
    "change a project": (
        STEWARDS, lambda api, client: change(client, made(api, wire.PROJECTS, NEW_PROJECT), {"status": "Pending"}),
    ),
    "move a project out of its region": (
        frozenset({"admin"}),
        lambda api, client: change(client, made(api, wire.PROJECTS, NEW_PROJECT), {"region": "iad"}),
    ),
    "move a project into the own region": (
        frozenset({"admin"}),
        lambda api, client: change(
            client, made(api, wire.PROJECTS, {**NEW_PROJECT, "region": "iad"}), {"region": "ams"}
        ),
    ),
    "delete a project": (
        STEWARDS,
        lambda api, client: client.delete(made(api, wire.PROJECTS, NEW_PROJECT), headers={"if-match": "*"}),
    ),
    "correct a GDP": (
        frozenset({"admin"}), lambda api, client: change(client, f"{wire.COUNTRIES}/MCO", {"gdp_year": 2020}),
    ),
    "report an incident": (
        frozenset({"operator", "admin"}), lambda api, client: client.post(wire.INCIDENTS, json=NEW_INCIDENT),
    ),
    "close an incident": (
        frozenset({"operator", "admin"}),
        lambda api, client: change(client, made(api, wire.INCIDENTS, NEW_INCIDENT), {"status": "closed"}),
    ),
    "create a user": (frozenset({"admin"}), lambda api, client: client.post(wire.USERS, json=new_user())),
    "change a user": (
        frozenset({"admin"}),
        lambda api, client: change(client, made(api, wire.USERS, new_user()), {"rate_per_s": 5}),
    ),
    "delete a user": (
        frozenset({"admin"}),
        lambda api, client: client.delete(made(api, wire.USERS, new_user()), headers={"if-match": "*"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("user", [None, *USERS])
def test_every_role_with_every_action(api: Api, user: str | None, action: str) -> None:
    allowed, act = ACTIONS[action]
    with api.client(user) as client:
        answer = act(api, client)
    if user is None:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    elif user in allowed:
        assert answer.is_success, answer.text
    else:
        assert answer.status_code == 403, answer.text
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        assert "may not" in answer.json()["detail"]
        assert "allowed: " in answer.json()["detail"]


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_is_a_401_that_says_so(api: Api, token: str) -> None:
    with api.client(None) as client:
        answer = client.get(wire.PROJECTS, headers={b"authorization": f"Bearer {token}".strip().encode()})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["//api/v1/projects", "/api/v1/projects/", "/api//v1/projects", "/%61pi/v1/projects"])
def test_no_spelling_of_a_path_gets_past_the_middleware(api: Api, path: str) -> None:
    with api.client(None) as client:
        assert client.get(path).status_code in (401, 404)


@pytest.mark.parametrize("path", ["/", "/app.js", wire.LIVE, wire.READY, wire.METRICS, wire.OPENAPI])
def test_what_is_public_needs_no_token(api: Api, path: str) -> None:
    with api.client(None) as client:
        assert client.get(path).status_code == 200


def test_a_secret_gets_a_token_for_fifteen_minutes(api: Api) -> None:
    with api.client(None) as client:
        answer = client.post(wire.TOKENS, json={"client_id": "steward-ams", "client_secret": SECRET})
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["token_type"] == "Bearer"
        assert answer.json()["expires_in"] == 900
        bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
        assert client.post(wire.PROJECTS, json=NEW_PROJECT, headers=bearer).status_code == 201


def test_unknown_and_disabled_clients_and_wrong_secrets_get_one_answer(api: Api) -> None:
    user = {**new_user(), "id": "disabled"}
    with api.client("admin") as admin:
        admin.post(wire.USERS, json=user)
        assert change(admin, f"{wire.USERS}/disabled", {"disabled": True}).json()["disabled"] is True
    with api.client(None) as client:
        answers = [
            client.post(wire.TOKENS, json={"client_id": client_id, "client_secret": "x"})
            for client_id in ("reader", "nobody-at-all", "disabled", "NO ID")
        ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["www-authenticate"] for answer in answers}) == 1


def test_guessing_a_secret_is_limited(api: Api) -> None:
    guess = {"client_id": "guessed", "client_secret": "x"}
    with api.client(None) as client:
        answers = [client.post(wire.TOKENS, json=guess) for _ in range(60)]
        assert {answer.status_code for answer in answers} == {401, 429}
        assert int(answers[-1].headers["retry-after"]) >= 1
        other = client.post(wire.TOKENS, json={"client_id": "operator", "client_secret": SECRET})
    assert other.status_code == 200, "guesses for one client do not limit another"


def test_a_client_is_limited_to_its_rate_and_a_burst(api: Api) -> None:
    with api.client(None, authorization=f"Bearer {api.token('operator', rate_per_s=1)}") as client:
        answers = [client.get(wire.SECTORS) for _ in range(80)]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert 50 <= len(answers) - len(limited) < 80
    assert answers[0].status_code == 200
    assert limited[0].headers["retry-after"] == "1"
    assert limited[0].headers["content-type"] == "application/problem+json"


def test_refusals_are_entries_of_the_trail(api: Api) -> None:
    """Grouped by client, route and reason, without any text from the request."""
    name = f"x{uuid.uuid4()}"
    bearer = f"Bearer {Tokens(api.settings.token_keys).sign(name, 'reader', None, 100)}"
    with api.client(None) as client:
        for _ in range(3):
            client.delete(f"{wire.PROJECTS}/secret", headers={"if-match": "*", "authorization": bearer})
            client.post(f"{wire.USERS}?secret=1", headers={"authorization": bearer})
            client.get(f"{wire.PROJECTS}/secret")
    with api.database() as database:

        def refused() -> set[tuple[object, ...]]:
            query = """select region, method, route, status, reason, sum(count) from refusals
                where client_id = %s group by 1, 2, 3, 4, 5"""
            return set(database.execute(query, (name,)).fetchall())

        wait_until(lambda: sum(int(str(row[5])) for row in refused()) == 6, "the refusals to be written")
        assert refused() == {
            ("ams", "DELETE", f"{wire.PROJECTS}/{{id}}", 403, "reader may not write projects", 3),
            ("ams", "POST", wire.USERS, 403, "reader may not write users", 3),
        }
        assert database.execute(
            "select from refusals where (client_id, route, reason) = ('anonymous', %s, 'no token')",
            (f"{wire.PROJECTS}/{{id}}",),
        ).fetchall()
        events = database.execute("select after from outbox where type = 'refused' and aggregate_id = %s", (name,))
        recorded = [row[0] for row in events.fetchall()]
        assert recorded
        assert all(set(one) == set(wire.Refusal.__struct_fields__) for one in recorded)  # type: ignore[call-overload]
        assert "secret" not in str(recorded)


def test_refusals_and_sign_ins_are_metered(api: Api) -> None:
    with api.client(None) as client:
        client.get(wire.PROJECTS)
        client.post(wire.TOKENS, json={"client_id": "reader", "client_secret": SECRET})
        text = client.get(wire.METRICS).text
    for line in ('covenant_http_refusals_total{status="401"} ', 'covenant_sign_ins_total{outcome="given"} '):
        assert line in text

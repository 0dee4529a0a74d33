"""Bad input: every kind gets a clear 4xx as problem+json, and changes nothing."""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from system import wire
from system.tests.api_process import Api

PROJECT = {
    "name": "Solar Park", "region": "ams", "country_code": "FRA", "sector": "Energy", "status": "Active",
    "funding_usd_millions": 1.5,
}  # fmt: skip
INCIDENT = {"region": "ams", "severity": "warning", "title": "A cable was cut"}
USER = {"id": "somebody", "role": "reader", "secret_sha256": "0" * 64}
UNKNOWN = f"{wire.PROJECTS}/{uuid.UUID(int=1)}"
SQL = "x'; drop table projects; --"
ANY = {"if-match": "*"}


@pytest.fixture(scope="module")
def admin(api: Api) -> Iterator[httpx.Client]:
    with api.client("admin") as client:
        yield client


def state(api: Api) -> list[object]:
    """What must not change: every row that clients can edit, and the number of events."""
    tables = ("countries", "projects", "users", "user_secret", "incidents")
    with api.database() as database:
        rows = [
            database.execute(f"select md5(string_agg(t::text, '|' order by id)), count(*) from {table} t").fetchone()
            for table in tables
        ]
        events = database.execute("select count(*) from outbox where type <> 'refused'").fetchone()
    return [*rows, events]


def without(body: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != field}


def cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


RAW = [
    ("malformed JSON", b"{", 400, "expected a body of JSON"),
    ("no body", b"", 400, "expected a body of JSON"),
    ("not UTF-8", b'{"name": "\xff"}', 400, ""),
    ("a lone surrogate", json.dumps({**PROJECT, "name": "\ud800"}).encode(), 400, ""),
    ("deep nesting", b"[" * 50_000, 400, ""),
    ("deep nesting in a field", b'{"name":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, 400, ""),
    ("a list", b"[]", 400, "Expected `object`"),
    ("null", b"null", 400, "Expected `object`"),
    ("more than 64 KiB", json.dumps({**PROJECT, "name": "x" * 70_000}).encode(), 413, ""),
    ("8 MB and one byte", b" " * (8 * 1024 * 1024 + 1), 413, ""),
    ("a huge number", json.dumps(PROJECT).replace("1.5", "1e999999999").encode(), 400, "funding_usd_millions"),
    ("NaN", json.dumps({**PROJECT, "funding_usd_millions": float("nan")}).encode(), 400, ""),
    ("Infinity", json.dumps({**PROJECT, "funding_usd_millions": float("inf")}).encode(), 400, ""),
]


@pytest.mark.parametrize(("content", "status", "said"), [case[1:] for case in RAW], ids=[case[0] for case in RAW])
def test_bytes_that_are_no_valid_body(api: Api, admin: httpx.Client, content: bytes, status: int, said: str) -> None:
    before = state(api)
    for method, path in (("POST", wire.PROJECTS), ("PATCH", f"{wire.COUNTRIES}/FRA")):
        answer = admin.request(method, path, content=content, headers={"content-type": "application/json", **ANY})
        if status == 413:
            assert answer.headers["connection"] == "close"
        refused(answer, status, said if method == "POST" else "")
    assert state(api) == before


def refused(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert problem["detail"]
    assert said in problem["detail"]


NO_TEXT: tuple[object, ...] = (None, [], {}, True)
BODIES: list[tuple[str, str, dict[str, Any], str]] = [
    *(("POST", wire.PROJECTS, without(PROJECT, field), f"`{field}`") for field in PROJECT),
    *(("POST", wire.PROJECTS, {**PROJECT, field: value}, field) for field in PROJECT for value in NO_TEXT),
    ("POST", wire.PROJECTS, {**PROJECT, "surprise": 1}, "surprise"),
    ("POST", wire.PROJECTS, {**PROJECT, "region": "lhr"}, "$.region"),
    ("POST", wire.PROJECTS, {**PROJECT, "sector": "Arms"}, "$.sector"),
    ("POST", wire.PROJECTS, {**PROJECT, "funding_usd_millions": -1}, "expected 0 to"),
    ("POST", wire.PROJECTS, {**PROJECT, "funding_usd_millions": 0.001}, "at most 2 digits"),
    ("POST", wire.PROJECTS, {**PROJECT, "funding_usd_millions": 10**12}, "expected 0 to"),
    ("POST", wire.PROJECTS, {**PROJECT, "name": "nul\0"}, "printable"),
    ("POST", wire.PROJECTS, {**PROJECT, "name": ""}, "1 to 200"),
    ("POST", wire.PROJECTS, {**PROJECT, "name": "x" * 201}, "1 to 200"),
    ("POST", wire.PROJECTS, {**PROJECT, "country_code": "QQQ"}, "country_code: expected the id"),
    ("POST", wire.PROJECTS, {**PROJECT, "country_code": SQL}, "three capital letters"),
    ("POST", wire.PROJECTS, {**PROJECT, "id": SQL}, "a UUID"),
    ("POST", wire.PROJECTS, {**PROJECT, "id": str(uuid.UUID(int=2**128 - 1)).upper()}, "a UUID in lower case"),
    ("PATCH", UNKNOWN, {}, "at least one of name, region"),
    ("PATCH", UNKNOWN, {"name": None}, "$.name"),
    ("PATCH", UNKNOWN, {"country_code": SQL}, "three capital letters"),
    ("PATCH", f"{wire.COUNTRIES}/FRA", {"name": "Gaul"}, "name"),
    ("PATCH", f"{wire.COUNTRIES}/FRA", {"gdp_usd_billions": -1}, "expected 0 to"),
    ("PATCH", f"{wire.COUNTRIES}/FRA", {"gdp_year": 10**30}, "gdp_year"),
    ("PATCH", f"{wire.COUNTRIES}/FRA", {"gdp_source": "\0"}, "printable"),
    ("POST", wire.INCIDENTS, {**INCIDENT, "severity": "awful"}, "$.severity"),
    ("POST", wire.INCIDENTS, {**INCIDENT, "detail": "a\0b"}, "printable"),
    ("POST", wire.INCIDENTS, {**INCIDENT, "detail": "x" * 2_001}, "2000"),
    ("POST", wire.INCIDENTS, {**INCIDENT, "kind": "failover"}, "kind"),
    ("PATCH", f"{wire.INCIDENTS}/{uuid.UUID(int=1)}", {"status": "ajar"}, "$.status"),
    ("POST", wire.USERS, {**USER, "id": SQL}, "id: expected"),
    ("POST", wire.USERS, {**USER, "id": "anonymous"}, "none of anonymous"),
    ("POST", wire.USERS, {**USER, "secret_sha256": "secret"}, "64 hexadecimal digits"),
    ("POST", wire.USERS, {**USER, "role": "root"}, "$.role"),
    ("POST", wire.USERS, {**USER, "role": "steward"}, "region: expected one"),
    ("POST", wire.USERS, {**USER, "region": "ams"}, "region: expected one"),
    ("POST", wire.USERS, {**USER, "rate_per_s": 0}, "rate_per_s: expected 1"),
    ("POST", wire.USERS, {**USER, "rate_per_s": 2**63}, "rate_per_s"),
    ("PATCH", f"{wire.USERS}/reader", {"role": "steward"}, "region: expected one"),
    ("PATCH", f"{wire.USERS}/steward-ams", {"region": None}, "region: expected one"),
    ("POST", wire.TOKENS, {"client_id": "reader"}, "client_secret"),
    ("POST", wire.TOKENS, {"client_id": "reader", "client_secret": "x", "grant_type": "password"}, "grant_type"),
]


def test_bodies_that_do_not_fit(api: Api, admin: httpx.Client) -> None:
    before = state(api)
    for method, path, body, said in BODIES:
        refused(admin.request(method, path, json=body, headers=ANY), 400, said)
        assert state(api) == before, (method, path, body)


def test_sql_in_a_text_is_text(admin: httpx.Client) -> None:
    created = admin.post(wire.PROJECTS, json={**PROJECT, "name": SQL})
    assert created.json()["name"] == SQL
    changed = admin.patch(created.headers["location"], json={"name": f"{SQL}{SQL}"}, headers=ANY)
    assert changed.json()["name"] == f"{SQL}{SQL}"
    incident = admin.post(wire.INCIDENTS, json={**INCIDENT, "title": SQL, "detail": SQL}).json()
    assert (incident["title"], incident["detail"]) == (SQL, SQL)
    page = admin.get(wire.PROJECTS, params={"sort": "-name", "limit": 1}).json()
    names = []
    while page["next"] is not None and f"{SQL}{SQL}" not in names:  # Others may have left names that come before it.
        names += [item["name"] for item in page["items"]]
        answer = admin.get(wire.PROJECTS, params={"sort": "-name", "limit": 1, "after": page["next"]})
        assert answer.status_code == 200
        page = answer.json()
    assert f"{SQL}{SQL}" in names
    admin.delete(created.headers["location"], headers=ANY)


LISTS = (wire.PROJECTS, wire.COUNTRIES, wire.INCIDENTS, wire.USERS)
PARAMETERS = [
    "limit=0", "limit=101", "limit=-1", "limit=99999999999999999999", "limit=x", "limit=1.5", "limit=",
    "limit=1&limit=2", "region=lhr", "region=", "region=AMS", "nothing=1", "sort=version", "sort=--name",
    "sort=name;drop", "sort=",
    f"region={quote(SQL)}", f"sort={quote(SQL)}", f"limit={quote(SQL)}", f"after={quote(SQL)}", "after=", "after=x",
    "after=%00", "after=%ff", "region=%00", "sort=id%00", f"after={'A' * 1_500}", f"after={'A' * 3_000}",
    f"after={cursor()}", f"after={cursor('id', 'x')}", f"after={cursor('id', 'x', SQL)}", f"after={cursor(1, 2, 3)}",
    f"after={cursor('-id', 'x', 'FRA')}", f"after={cursor('name', 'x', str(uuid.UUID(int=1)))}",
    f"sort=name&after={cursor('id', 'x', str(uuid.UUID(int=1)))}", "&".join(f"a{number}=1" for number in range(30)),
]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_parameters_that_do_not_fit(admin: httpx.Client, path: str, parameters: str) -> None:
    refused(admin.get(f"{path}?{parameters}"), 400, "")


SORTED = [
    (wire.PROJECTS, "name", "nul\0", str(uuid.UUID(int=1))),
    (wire.PROJECTS, "funding_usd_millions", "much", str(uuid.UUID(int=1))),
    (wire.COUNTRIES, "gdp_usd_billions", "1'", "FRA"),
    (wire.INCIDENTS, "opened_at", "yesterday", str(uuid.UUID(int=1))),
    (wire.INCIDENTS, "opened_at", "9999-99-99T00:00:00Z", str(uuid.UUID(int=1))),
]
ODD = [
    (wire.PROJECTS, "funding_usd_millions", "NaN", str(uuid.UUID(int=1))),
    (wire.PROJECTS, "funding_usd_millions", "1e400", str(uuid.UUID(int=1))),
    (wire.INCIDENTS, "opened_at", "0001-01-01T00:00:00", str(uuid.UUID(int=1))),
    (wire.PROJECTS, "name", "\ud800", str(uuid.UUID(int=1))),
]


@pytest.mark.parametrize(("path", "field", "value", "item_id"), [*SORTED, *ODD])
def test_a_changed_cursor_is_refused_or_a_valid_place(
    admin: httpx.Client, path: str, field: str, value: str, item_id: str
) -> None:
    answer = admin.get(f"{path}?sort={field}&after={cursor(field, value, item_id)}")
    if (path, field, value, item_id) in SORTED:
        refused(answer, 400, "after: expected the cursor of a page before")
    else:
        assert answer.status_code in (200, 400)


HEADERS: list[tuple[str, str, dict[str, str], int, str]] = [
    ("PATCH", UNKNOWN, {}, 428, "If-Match"),
    ("PATCH", UNKNOWN, {"if-match": "1"}, 412, "as it was given out"),
    ("PATCH", UNKNOWN, {"if-match": '"99999999999999999999"'}, 412, "as it was given out"),
    ("PATCH", UNKNOWN, {"if-match": '"1"'}, 412, "as it was given out"),
    ("PATCH", UNKNOWN, {"if-match": '"1-1"'}, 404, "there is no project"),
    ("DELETE", UNKNOWN, {}, 428, "If-Match"),
    ("DELETE", UNKNOWN, ANY, 404, "there is no project"),
    ("DELETE", f"{wire.USERS}/nobody-there", ANY, 404, "there is no user"),
    ("PATCH", f"{wire.COUNTRIES}/FRA", {"if-match": '"1-0"'}, 412, "its ETag is now"),
    ("PATCH", f"{wire.COUNTRIES}/QQQ", ANY, 404, "there is no country"),
    ("PATCH", f"{wire.INCIDENTS}/{uuid.UUID(int=1)}", ANY, 404, "there is no incident"),
    ("PATCH", f"{wire.USERS}/Reader", ANY, 404, "there is no user"),
    ("PATCH", UNKNOWN, {**ANY, "idempotency-key": ""}, 400, "Idempotency-Key"),
    ("PATCH", UNKNOWN, {**ANY, "idempotency-key": "x" * 256}, 400, "Idempotency-Key"),
    ("PATCH", UNKNOWN, {**ANY, "content-type": "text/plain"}, 415, "expected a body of application/json"),
    ("GET", UNKNOWN, {"covenant-read-after": "x"}, 400, "Covenant-Read-After"),
    ("GET", UNKNOWN, {"covenant-read-after": "-1"}, 400, "Covenant-Read-After"),
    ("GET", UNKNOWN, {"covenant-read-after": str(2**63)}, 400, "Covenant-Read-After"),
    ("GET", wire.PROJECTS, {"covenant-read-after": "1 or 1=1"}, 400, "Covenant-Read-After"),
    ("GET", UNKNOWN, {}, 404, "there is no project"),
    ("GET", f"{wire.PROJECTS}/{quote(SQL)}", {}, 404, "there is no project"),
    ("GET", f"{wire.COUNTRIES}/%00", {}, 404, "there is no country"),
    ("GET", f"{wire.REGIONS}/lhr", {}, 404, "there is no region"),
    ("GET", "/api/v1/nothing", {}, 404, ""),
    ("PUT", wire.PROJECTS, {}, 405, ""),
    ("DELETE", wire.COUNTRIES, {}, 405, ""),
]
FITTING = {wire.COUNTRIES: {"gdp_year": 2020}, wire.INCIDENTS: {"status": "closed"}, wire.USERS: {"rate_per_s": 3}}


def test_headers_and_paths_that_do_not_fit(api: Api, admin: httpx.Client) -> None:
    before = state(api)
    for method, path, headers, status, said in HEADERS:
        body = FITTING.get(path.rpartition("/")[0], {"name": "N"})
        content = {"json": body} if method in ("PATCH", "PUT") else {}
        refused(admin.request(method, path, headers=headers, **content), status, said)  # type: ignore[arg-type]
        assert state(api) == before, (method, path, headers)


def test_an_id_that_is_taken_is_a_409_with_its_etag(api: Api, admin: httpx.Client) -> None:
    identity = str(uuid.uuid4())
    for path, body in (
        (wire.PROJECTS, {**PROJECT, "id": identity}),
        (wire.INCIDENTS, {**INCIDENT, "id": identity}),
        (wire.USERS, USER),
    ):  # fmt: skip
        created = admin.post(path, json=body)
        assert created.status_code == 201
        before = state(api)
        again = admin.post(path, json=body)
        refused(again, 409, "exists already")
        assert again.headers["etag"] == created.headers["etag"]
        assert state(api) == before


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v1/projects?region=\xff\xfe HTTP/1.1",
        b"GET /api/v1/projects/\xff\xfe HTTP/1.1",
        b"GET /api/v1/projects/%ff%fe HTTP/1.1",
        b"GET /api/v1/projects/%00 HTTP/1.1",
        b"GET " + b"/" * 3_000 + b" HTTP/1.1",
        b"BREW /api/v1/projects HTTP/1.1",
        b"GET /api/v1/projects HTTP/1.1\r\nIf-None-Match: \xff\xfe",
        b"GET /api/v1/projects HTTP/1.1\r\nCovenant-Read-After: \xb2",
        b"POST /api/v1/projects HTTP/1.1\r\nIdempotency-Key: \xff\r\nContent-Length: 2",
    ],
)
def test_bytes_that_no_client_library_sends(api: Api, head: bytes) -> None:
    address = urlsplit(api.url)
    token = api.token("admin").encode()
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head + b"\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token + b"\r\n\r\n{}")
        answer = connection.makefile("rb").readline()
    assert answer.startswith(b"HTTP/1.1 "), answer
    assert int(answer.split()[1]) < 500

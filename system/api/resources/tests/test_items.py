"""Repeated writes, reads of own writes, lists, and the lifecycle of items, over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any

import httpx
import pytest

from system import wire
from system.tests.api_process import Api

PROJECT = {
    "name": "Solar Park", "region": "ams", "country_code": "FRA", "sector": "Energy", "status": "Active",
    "funding_usd_millions": 1.5,
}  # fmt: skip
INCIDENT = {"region": "ams", "severity": "warning", "title": "A cable was cut", "detail": "Near the shore.\nAgain."}


@pytest.fixture(scope="module")
def admin(api: Api) -> Iterator[httpx.Client]:
    with api.client("admin") as client:
        yield client


def key(text: str | None = None) -> dict[str, str]:
    return {"idempotency-key": text or str(uuid.uuid4())}


def user(name: str | None = None) -> dict[str, Any]:
    return {"id": name or f"user-{uuid.uuid4()}", "role": "reader", "secret_sha256": "0" * 64}


def events_of(api: Api, item_id: str) -> list[str]:
    return [kind for kind, _ in states_of(api, item_id)]


def states_of(api: Api, item_id: str) -> list[tuple[Any, ...]]:
    """(type, incarnation) of each event of an item."""
    with api.database() as database:
        query = """
            select type, (coalesce(after, before) ->> 'incarnation')::bigint from outbox
            where aggregate_id = %s order by id"""
        return database.execute(query, (item_id,)).fetchall()


def same(first: httpx.Response, again: httpx.Response) -> None:
    """Assert that two answers are equal, and that the second is marked as a replay."""
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("etag", "location", "covenant-written", "content-type"):
        assert again.headers.get(name) == first.headers.get(name)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(("path", "body"), [(wire.PROJECTS, PROJECT), (wire.INCIDENTS, INCIDENT), (wire.USERS, None)])
def test_a_create_is_repeated_without_doubling(
    api: Api, admin: httpx.Client, path: str, body: dict[str, Any] | None
) -> None:
    body, headers = body or user(), key()
    first = admin.post(path, json=body, headers=headers)
    assert first.status_code == 201, first.text
    same(first, admin.post(path, json=body, headers=headers))
    assert events_of(api, first.json()["id"]) == ["created"]
    other = admin.post(path, json={**body, "region": "iad"}, headers=headers)
    assert other.status_code == (422 if path != wire.USERS else 400)
    assert admin.get(first.headers["location"]).json() == first.json()


def test_a_change_is_repeated_though_its_condition_is_stale_by_then(api: Api, admin: httpx.Client) -> None:
    created = admin.post(wire.PROJECTS, json=PROJECT)
    path, headers = created.headers["location"], {**key(), "if-match": created.headers["etag"]}
    first = admin.patch(path, json={"status": "Pending"}, headers=headers)
    assert first.json()["version"] == 2
    same(first, admin.patch(path, json={"status": "Pending"}, headers=headers))
    assert admin.patch(path, json={"status": "Active"}, headers=headers).status_code == 422
    assert admin.patch(path, json={"status": "Pending"}, headers={**headers, "if-match": "*"}).status_code == 422
    assert admin.patch(path, json={"status": "Active"}, headers={**headers, **key()}).status_code == 412
    admin.patch(path, json={"status": "Completed"}, headers={"if-match": "*"})
    same(first, admin.patch(path, json={"status": "Pending"}, headers=headers))
    assert events_of(api, created.json()["id"]) == ["created", "updated", "updated"]


def test_a_delete_is_repeated_though_there_is_nothing_left(api: Api, admin: httpx.Client) -> None:
    created = admin.post(wire.PROJECTS, json=PROJECT)
    path, headers = created.headers["location"], {**key(), "if-match": created.headers["etag"]}
    first = admin.delete(path, headers=headers)
    assert (first.status_code, first.content) == (204, b"")
    same(first, admin.delete(path, headers=headers))
    assert admin.delete(path, headers={**headers, **key()}).status_code == 404
    assert events_of(api, created.json()["id"]) == ["created", "deleted"]


def test_a_key_is_its_clients_own(api: Api, admin: httpx.Client) -> None:
    headers = key()
    with api.client("steward-ams") as steward:
        answers = [client.post(wire.PROJECTS, json=PROJECT, headers=headers) for client in (admin, steward)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] != answers[1].json()["id"]


def test_the_answer_to_a_failed_write_is_not_kept(admin: httpx.Client) -> None:
    headers = key()
    assert admin.post(wire.PROJECTS, json={**PROJECT, "country_code": "QQQ"}, headers=headers).status_code == 400
    assert admin.post(wire.PROJECTS, json=PROJECT, headers=headers).status_code == 201


@pytest.mark.parametrize("identity", [None, "chosen"])
def test_of_concurrent_equal_writes_one_happens(api: Api, identity: str | None) -> None:
    """Ten at once, each on its own connection, in several rounds: one writes, nine get the same answer."""
    with ThreadPoolExecutor(10) as threads:
        for _ in range(10):
            headers, body = key(), {**PROJECT, "id": identity and str(uuid.uuid4())}

            def post(_: int, headers: dict[str, str] = headers, body: dict[str, Any] = body) -> httpx.Response:
                with api.client("admin") as client:
                    return client.post(wire.PROJECTS, json=body, headers=headers)

            answers = list(threads.map(post, range(10)))
            assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
            assert len({answer.content for answer in answers}) == 1
            assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
            assert events_of(api, answers[0].json()["id"]) == ["created"]


def test_an_item_made_anew_under_its_id_is_another(api: Api, admin: httpx.Client) -> None:
    for path, body, change in (
        (wire.PROJECTS, {**PROJECT, "id": str(uuid.uuid4())}, {"status": "Pending"}),
        (wire.USERS, user("made-anew"), {"disabled": True}),
    ):  # fmt: skip
        first = admin.post(path, json=body)
        place, old = first.headers["location"], first.headers["etag"]
        assert admin.delete(place, headers={"if-match": old}).status_code == 204
        anew = admin.post(path, json=body)
        assert (anew.status_code, anew.json()["version"]) == (201, 1)
        assert anew.json()["incarnation"] != first.json()["incarnation"]
        assert admin.get(place, headers={"if-none-match": old}).status_code == 200
        assert admin.patch(place, json=change, headers={"if-match": old}).status_code == 412
        assert admin.delete(place, headers={"if-match": old}).status_code == 412
        assert admin.get(place).json() == anew.json()
        was, now = first.json()["incarnation"], anew.json()["incarnation"]
        assert states_of(api, str(body["id"])) == [("created", was), ("deleted", was), ("created", now)]


def test_of_concurrent_equal_changes_one_happens(api: Api, admin: httpx.Client) -> None:
    created = admin.post(wire.PROJECTS, json=PROJECT)
    headers = {**key(), "if-match": created.headers["etag"]}

    def change(_: int) -> httpx.Response:
        with api.client("admin") as client:
            return client.patch(created.headers["location"], json={"status": "Pending"}, headers=headers)

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(change, range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert events_of(api, created.json()["id"]) == ["created", "updated"]


def test_a_client_reads_its_own_write(api: Api, admin: httpx.Client) -> None:
    created = admin.post(wire.PROJECTS, json=PROJECT)
    path, written = created.headers["location"], created.headers["covenant-written"]
    assert admin.get(path).json() == created.json()
    with api.client("reader") as reader:
        read = reader.get(path, headers={"covenant-read-after": written})
        assert read.json() == created.json()
        assert reader.get(path, headers={"covenant-read-after": str(2**62)}).json() == created.json()
    text = admin.get(wire.METRICS).text
    assert 'covenant_read_after_total{member="replica"}' in text
    assert 'covenant_read_after_total{member="primary"}' in text, "of what no replica shows within 50 ms"


def test_an_incident_is_closed_and_reopened(admin: httpx.Client) -> None:
    opened = admin.post(wire.INCIDENTS, json=INCIDENT)
    path = opened.headers["location"]
    incident = opened.json()
    assert {**INCIDENT, "kind": "reported", "status": "open", "raised_by": "admin"}.items() <= incident.items()
    assert incident["closed_at"] is None
    headers = {"if-match": opened.headers["etag"]}
    closed = admin.patch(path, json={"status": "closed", "detail": "Mended."}, headers=headers)
    assert closed.json()["closed_at"] >= incident["opened_at"]
    later = admin.patch(path, json={"severity": "info"}, headers={"if-match": "*"}).json()
    assert (later["status"], later["closed_at"]) == ("closed", closed.json()["closed_at"])
    assert admin.patch(path, json={"status": "open"}, headers={"if-match": "*"}).json()["closed_at"] is None
    assert admin.patch(path, json={"status": "closed"}, headers=headers).status_code == 412


def test_the_systems_own_incident_is_open_once(api: Api, admin: httpx.Client) -> None:
    with api.database() as database:
        query = """insert into incidents (region, kind, severity, status, subject, title, detail, raised_by, closed_at)
            values ('ams', 'consumer-lag', 'warning', %s, 'analytics', 'Behind', '', 'system', %s) returning id::text"""
        [old] = database.execute(query, ("closed", "2024-01-01T00:00:00Z")).fetchone() or ()
        database.execute(query, ("open", None))
    answer = admin.patch(f"{wire.INCIDENTS}/{old}", json={"status": "open"}, headers={"if-match": "*"})
    assert answer.status_code == 409
    assert "leave this one closed" in answer.json()["detail"]
    found = admin.get(wire.INCIDENTS, params={"kind": "consumer-lag", "status": "open"}).json()["items"]
    assert [item["subject"] for item in found] == ["analytics"]


def test_the_lifecycle_of_a_user(api: Api, admin: httpx.Client) -> None:
    created = admin.post(wire.USERS, json=user("some-steward"))
    assert created.json() == {
        "id": "some-steward", "role": "reader", "region": None, "rate_per_s": 1_000, "disabled": False, "version": 1,
        "incarnation": created.json()["incarnation"],
    }  # fmt: skip
    path = created.headers["location"]
    created_as = {"if-match": created.headers["etag"]}
    promoted = admin.patch(path, json={"role": "steward", "region": "syd"}, headers=created_as)
    assert (promoted.json()["role"], promoted.json()["region"]) == ("steward", "syd")
    promoted_as = {"if-match": promoted.headers["etag"]}
    demoted = admin.patch(path, json={"role": "operator", "region": None}, headers=promoted_as)
    assert (demoted.json()["role"], demoted.json()["region"]) == ("operator", None)
    admin.patch(path, json={"secret_sha256": "1" * 64}, headers={"if-match": "*"})
    with api.database() as database:
        query = "select secret_sha256 from user_secret where id = 'some-steward'"
        assert database.execute(query).fetchone() == ("1" * 64,)
        events = database.execute("select before, after from outbox where aggregate_id = 'some-steward'").fetchall()
    assert len(events) == 4
    assert "1" * 64 not in str(events)
    assert admin.delete(path, headers={"if-match": "*"}).status_code == 204
    assert admin.get(path).status_code == 404


def everything(client: httpx.Client, path: str, **parameters: object) -> list[dict[str, Any]]:
    """All items, page by page."""
    items: list[dict[str, Any]] = []
    after: dict[str, object] = {}
    while True:
        page = client.get(path, params={**parameters, **after}).json()  # type: ignore[dict-item]
        items += page["items"]
        if page["next"] is None:
            return items
        after = {"after": page["next"]}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (wire.PROJECTS, "id"), (wire.PROJECTS, "name"), (wire.PROJECTS, "funding_usd_millions"),
        (wire.COUNTRIES, "name"), (wire.COUNTRIES, "gdp_usd_billions"),
        (wire.INCIDENTS, "opened_at"), (wire.USERS, "id"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("limit", [7, 100])
def test_pages_in_any_order_show_every_item_once(admin: httpx.Client, path: str, field: str, limit: int) -> None:
    up = everything(admin, path, sort=field, limit=limit)
    down = everything(admin, path, sort=f"-{field}", limit=limit)
    assert up == sorted(up, key=itemgetter(field, "id"))
    assert down == up[::-1]
    assert len({item["id"] for item in up}) == len(up)


def test_projects_of_one_name_are_each_on_one_page(admin: httpx.Client) -> None:
    for _ in range(9):
        admin.post(wire.PROJECTS, json={**PROJECT, "name": "Of one name", "region": "jnb"})
    found = everything(admin, wire.PROJECTS, sort="-name", region="jnb", limit=2)
    assert len({item["id"] for item in found if item["name"] == "Of one name"}) == 9
    assert len({item["id"] for item in found}) == len(found)


@pytest.mark.parametrize("path", [f"{wire.PROJECTS}?limit=3", wire.REGIONS, f"{wire.REGIONS}/ams", wire.SECTORS])
def test_a_list_that_did_not_change_is_a_304(admin: httpx.Client, path: str) -> None:
    first = admin.get(path)
    again = admin.get(path, headers={"if-none-match": f'"x", {first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert admin.get(path, headers={"if-none-match": '"x"'}).status_code == 200


def test_a_list_that_changed_has_another_etag(admin: httpx.Client) -> None:
    path = f"{wire.PROJECTS}?sort=-funding_usd_millions&limit=3"
    first = admin.get(path)
    admin.post(wire.PROJECTS, json={**PROJECT, "funding_usd_millions": 999999})
    again = admin.get(path, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 200
    assert again.headers["etag"] != first.headers["etag"]

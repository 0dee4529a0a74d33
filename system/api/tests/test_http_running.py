"""The API of a running system, with real replicas: conditions, pages, health, metrics, documents."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest

from infra.site import clients
from infra.target import Target
from system import wire
from system.data.countries import countries
from system.data.projects import projects

pytestmark = pytest.mark.running


@pytest.fixture(params=[0, -1], ids=["first region", "last region"])
def api(request: pytest.FixtureRequest, target: Target) -> Iterator[httpx.Client]:
    """A client of one region's API with an admin's token."""
    region = target.regions[request.param]
    bearer = {"authorization": f"Bearer {clients.token(target, 'admin', region)}"}
    with httpx.Client(base_url=target.api[region], timeout=10, headers=bearer) as client:
        yield client


def new_project(**fields: object) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "name": "Test project", "region": "ams", "country_code": "FRA",
        "sector": "Energy", "status": "Active", "funding_usd_millions": 0.1, **fields,
    }  # fmt: skip


def test_the_lifecycle_of_a_project(api: httpx.Client) -> None:
    project = new_project()
    path = f"{wire.PROJECTS}/{project['id']}"

    created = api.post(wire.PROJECTS, json=project)
    assert created.status_code == 201, created.text
    assert created.headers["location"] == path
    incarnation = created.json()["incarnation"]
    assert created.headers["etag"] == f'"{incarnation}-1"'
    assert created.json() == {**project, "version": 1, "incarnation": incarnation}
    assert '"funding_usd_millions":0.10' in created.text

    again = api.post(wire.PROJECTS, json=project)
    assert (again.status_code, again.headers["etag"]) == (409, created.headers["etag"])

    read = api.get(path)  # The client reads its own write, whatever the region.
    assert read.json() == created.json()
    unchanged = api.get(path, headers={"if-none-match": read.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")

    changed = api.patch(path, json={"status": "Pending"}, headers={"if-match": read.headers["etag"]})
    assert changed.json() == {**created.json(), "status": "Pending", "version": 2}
    stale = api.patch(path, json={"status": "Active"}, headers={"if-match": read.headers["etag"]})
    assert (stale.status_code, stale.headers["etag"]) == (412, changed.headers["etag"])
    assert api.delete(path, headers={"if-match": read.headers["etag"]}).status_code == 412

    deleted = api.delete(path, headers={"if-match": changed.headers["etag"]})
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert api.get(path).status_code == 404


def test_a_project_may_be_given_its_id_by_the_server(api: httpx.Client) -> None:
    created = api.post(wire.PROJECTS, json={**new_project(), "id": None})
    assert created.status_code == 201
    path = created.headers["location"]
    assert path == f"{wire.PROJECTS}/{uuid.UUID(created.json()['id'])}"
    assert api.delete(path, headers={"if-match": "*"}).status_code == 204


def test_a_corrected_gdp_changes_the_pledge(api: httpx.Client) -> None:
    path = f"{wire.COUNTRIES}/MCO"
    before = api.get(path).json()
    correction = {"gdp_usd_billions": 123.456, "gdp_source": "a test"}
    corrected = api.patch(path, json=correction, headers={"if-match": "*"})
    try:
        assert corrected.status_code == 200, corrected.text
        assert corrected.json()["contribution_usd_millions"] == 1.23
        assert corrected.json()["version"] > before["version"]
    finally:
        restored = {name: before[name] for name in ("gdp_usd_billions", "gdp_source")}
        assert api.patch(path, json=restored, headers={"if-match": "*"}).status_code == 200


def test_a_write_of_one_region_is_read_in_another(target: Target) -> None:
    first, last = target.regions[0], target.regions[-1]
    bearer = {"authorization": f"Bearer {clients.token(target, 'admin', first)}"}
    created = httpx.post(target.api[first] + wire.PROJECTS, json=new_project(), headers=bearer, timeout=10)
    after = {wire.READ_AFTER: created.headers[wire.WRITTEN]}
    path = created.headers["location"]
    read = httpx.get(target.api[last] + path, headers={**bearer, **after}, timeout=10)
    assert read.json() == created.json()
    deleted = httpx.delete(target.api[last] + path, headers={**bearer, "if-match": "*"}, timeout=10)
    assert deleted.status_code == 204


def everything(api: httpx.Client, path: str, **parameters: object) -> list[dict[str, Any]]:
    """All items, page by page."""
    items: list[dict[str, Any]] = []
    after: dict[str, object] = {}
    while True:
        page = api.get(path, params={**parameters, **after}).json()  # type: ignore[dict-item]
        items += page["items"]
        if page["next"] is None:
            return items
        after = {"after": page["next"]}


@pytest.mark.parametrize("limit", [7, 100])
def test_pages_show_every_project_exactly_once(api: httpx.Client, limit: int) -> None:
    seen = [item["id"] for item in everything(api, wire.PROJECTS, limit=limit)]
    assert seen == sorted(set(seen))
    # Other tests create and delete projects meanwhile; the initial ones stay.
    assert {project.id for project in projects(countries())} <= set(seen)


def test_pages_show_every_country_exactly_once(api: httpx.Client) -> None:
    seen = [item["id"] for item in everything(api, wire.COUNTRIES, limit=50)]
    assert seen == [country.id for country in countries()]


def test_filters_combine(api: httpx.Client) -> None:
    found = everything(api, wire.PROJECTS, region="syd", sector="Health", status="Active", limit=5)
    expected = [
        project.id
        for project in projects(countries())
        if (project.region, project.sector, project.status) == ("syd", "Health", "Active")
    ]
    assert expected
    assert {item["id"] for item in found} >= set(expected)
    assert {(item["region"], item["sector"], item["status"]) for item in found} == {("syd", "Health", "Active")}
    oceania = everything(api, wire.COUNTRIES, continent="Oceania", region="syd")
    assert {item["id"] for item in oceania} == {one.id for one in countries() if one.continent == "Oceania"}


def test_sectors_are_the_six_of_the_contract(api: httpx.Client) -> None:
    answer = api.get(wire.SECTORS).json()
    assert answer["next"] is None
    assert [item["id"] for item in answer["items"]] == list(get_args(wire.Sector))


def test_the_process_reports_its_health(api: httpx.Client) -> None:
    assert api.get(wire.LIVE).json() == {"status": "live"}
    readiness = api.get(wire.READY)
    assert readiness.status_code == 200, readiness.text
    assert {check["name"] for check in readiness.json()["checks"]} == {
        "database read", "primary database", "bus", "valkey",
    }  # fmt: skip


def test_requests_and_memory_are_metered(api: httpx.Client) -> None:
    api.get(f"{wire.COUNTRIES}/FRA")
    text = api.get(wire.METRICS).text
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = f'{{method="GET",route="{wire.COUNTRIES}/{{country_id}}",status="200"}}'
    assert float(metrics[f"covenant_http_requests_total{labels}"]) >= 1
    assert 0 < float(metrics["process_resident_memory_bytes"]) < 150 * 1024**2


def test_the_api_describes_itself(api: httpx.Client) -> None:
    document = api.get(wire.OPENAPI).json()
    assert {wire.PROJECTS, wire.COUNTRIES, wire.REGIONS, wire.READY} <= set(document["paths"])
    body = document["paths"][wire.PROJECTS]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    assert fields["funding_usd_millions"]["type"] == "number"


def test_the_page_loads_from_its_own_origin_only(api: httpx.Client) -> None:
    page = api.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert api.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    for path in ("/app.js", "/app.css", "/icon.svg"):
        assert api.get(path).status_code == 200

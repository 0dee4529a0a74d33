"""The page of regions and totals: in every region it shows what the API says."""

from __future__ import annotations

import json
import urllib.request
import uuid
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from e2e.pages.regions import RegionsPage
from infra.site import clients
from infra.target import Target
from system import wire

pytestmark = pytest.mark.browser


@pytest.fixture
def reader(target: Target) -> str:
    """A reader's bearer token."""
    return clients.token(target, "reader", None)


def api(url: str, token: str, body: dict[str, object] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


@pytest.mark.smoke
@pytest.mark.parametrize("number", [0, 1, -1], ids=["the first", "the second", "the last"])
def test_shows_every_region(page: Page, target: Target, reader: str, number: int) -> None:
    region = target.regions[number]
    regions = RegionsPage(page, target.web[region], reader)
    regions.open()
    for item in api(target.api[region] + wire.REGIONS, reader)["items"]:
        expect(regions.row(item["city"])).to_contain_text(item["aws_region"])
        assert Decimal(regions.number(item["city"], "pledged")) == item["contribution_usd_millions"]


@pytest.mark.smoke
def test_shows_a_new_project(page: Page, target: Target, reader: str) -> None:
    regions = RegionsPage(page, target.web[target.regions[1]], reader)
    regions.open()
    first, last = target.regions[0], target.regions[-1]
    (city,) = [item["city"] for item in api(target.api[first] + wire.REGIONS, reader)["items"] if item["id"] == last]
    before = int(regions.number(city, "projects"))
    project = {
        "id": str(uuid.uuid4()),
        "name": "Browser suite",
        "region": last,
        "country_code": "AUS",
        "sector": "Energy",
        "status": "Active",
        "funding_usd_millions": 1.25,
    }
    api(target.api[first] + wire.PROJECTS, clients.token(target, "steward", last), project)
    # Other suites may add projects meanwhile, but ours must appear when the page is loaded again.
    for _ in range(50):
        regions.open()
        if int(regions.number(city, "projects")) > before:
            return
    pytest.fail(f"50 times opened, and {city} still shows {before} projects")


@pytest.mark.smoke
def test_says_when_figures_cannot_be_had(page: Page, target: Target, reader: str) -> None:
    def refuse(route: Route) -> None:
        route.abort("connectionrefused")

    page.context.route("**" + wire.REGIONS, refuse)
    regions = RegionsPage(page, target.web[target.regions[0]], reader)
    regions.go()
    expect(regions.status).not_to_contain_text("Updated")
    expect(regions.retry).to_be_visible()
    page.context.unroute("**" + wire.REGIONS, refuse)
    regions.retry.click()
    expect(regions.status).to_contain_text("Updated")


@pytest.mark.smoke
def test_asks_for_a_token_and_takes_one_that_is_pasted(page: Page, target: Target, reader: str) -> None:
    regions = RegionsPage(page, target.web[target.regions[0]], None)
    regions.go()
    expect(regions.status).to_contain_text("Sign in")
    regions.token.fill("not a token")
    regions.sign_in.click()
    expect(regions.status).to_contain_text("sign in again")
    regions.token.fill(reader)
    regions.sign_in.click()
    expect(regions.status).to_contain_text("Updated")
    expect(regions.token).to_be_hidden()
    assert reader not in page.url

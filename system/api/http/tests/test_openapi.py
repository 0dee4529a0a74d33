"""Requests that the OpenAPI document allows, and others: every answer is one that it describes, and none is a 500."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from system import wire
from system.api.app import handlers
from system.api.http.openapi import document
from system.tests import api_process
from system.tests.api_process import Api

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
EXAMPLES = 50
EXAMPLES_IN_FULL = 2_000


DOCUMENT = json.loads(document(handlers()))
# A stream of events has no end to wait for.
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path=[wire.EVENTS, wire.WAKE])
unhurried = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


@pytest.fixture(scope="session")
def known(api: Api) -> dict[str, list[str]]:
    """Ids of existing items, so that more than half of the cases get past 404."""
    with api.client("admin") as client:
        for number in range(20):
            client.post(wire.INCIDENTS, json={"region": "ams", "severity": "info", "title": f"Incident {number}"})
            user = {"id": f"user-{number}", "role": "reader", "secret_sha256": "0" * 64}
            client.post(wire.USERS, json=user)
        items = {
            name: client.get(path, params={"limit": 100}).json()["items"]
            for name, path in (
                ("project_id", wire.PROJECTS), ("country_id", wire.COUNTRIES), ("incident_id", wire.INCIDENTS),
                ("user_id", wire.USERS),
            )
        }  # fmt: skip
    return {
        name: [item["id"] for item in found if item["id"] not in api_process.USERS] for name, found in items.items()
    }


def check(case: Case[Any], api: Api, known: dict[str, list[str]]) -> None:
    """Send a case as an admin, whose requests get furthest into every operation."""
    chosen = zlib.crc32(repr((case.path_parameters, case.body, case.query)).encode("utf-8", "replace"))
    for name in case.path_parameters:
        if name in known and chosen % 3:
            case.path_parameters[name] = known[name][chosen % len(known[name])]
    case.call_and_validate(base_url=api.url, checks=CHECKS, headers={"authorization": f"Bearer {api.token('admin')}"})


def test_the_document_is_the_one_that_is_served(api: Api) -> None:
    with api.client(None) as client:
        assert client.get(wire.OPENAPI).json() == DOCUMENT


@schema.parametrize()
@settings(unhurried, max_examples=EXAMPLES)
def test_every_answer_is_as_described(case: Case[Any], api: Api, known: dict[str, list[str]]) -> None:
    check(case, api, known)


@pytest.mark.full
@pytest.mark.timeout(3 * 3600)
@schema.parametrize()
@settings(unhurried, max_examples=EXAMPLES_IN_FULL)
def test_every_answer_is_as_described_in_many_more_cases(
    case: Case[Any], api: Api, known: dict[str, list[str]]
) -> None:
    check(case, api, known)

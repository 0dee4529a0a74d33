"""Whatever the OpenAPI document allows, and what it forbids: no answer that it does not describe, and never a 500."""

from __future__ import annotations

import json

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
from system.api.openapi import document
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


def check(case: Case, api: Api) -> None:
    """As an admin, who gets furthest into every operation."""
    case.call_and_validate(base_url=api.url, checks=CHECKS, headers={"authorization": f"Bearer {api.token('admin')}"})


def test_the_document_is_the_one_that_is_served(api: Api) -> None:
    with api.client(None) as client:
        assert client.get(wire.OPENAPI).json() == DOCUMENT


@schema.parametrize()
@settings(unhurried, max_examples=EXAMPLES)
def test_every_answer_is_as_described(case: Case, api: Api) -> None:
    check(case, api)


@pytest.mark.full
@pytest.mark.timeout(3 * 3600)
@schema.parametrize()
@settings(unhurried, max_examples=EXAMPLES_IN_FULL)
def test_every_answer_is_as_described_in_many_more_cases(case: Case, api: Api) -> None:
    check(case, api)

"""A project that a load or a probe creates, and what an answer to a write says of it."""

from __future__ import annotations

import uuid
from decimal import Decimal

import msgspec

from loadtests.clients.http import Response
from reports.evidence import Outcome
from system.wire import NewProject, Region

encode = msgspec.json.Encoder(decimal_format="number").encode
"""A body as the API reads it."""


def new_project(name: str, region: Region, country_code: str) -> NewProject:
    """One under an id of its own."""
    return NewProject(
        id=str(uuid.uuid4()), name=name, region=region, country_code=country_code,
        sector="Energy", status="Pending", funding_usd_millions=Decimal("0.01"),
    )  # fmt: skip


def judge_write(response: Response, *, expected: bool) -> tuple[Outcome, str]:
    """How a write ended, and what was answered if not as expected. Only a refusal of class 4xx says that nothing was
    done; 409 does not (the API itself may have tried twice), and no 5xx does."""
    if expected:
        return "ok", ""
    refused = 400 <= response.status < 500 and response.status not in (408, 409)
    return "fail" if refused else "unknown", response.summary

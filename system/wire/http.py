"""HTTP: paths, headers, and the shapes of requests and answers.

Money is in millions of USD as a decimal number with at most two digits after the point, so that totals
reconcile to the cent of a million; JSON carries it as a number, and readers must not pass it through binary
floating point if they add it up.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from system.wire.streams import Aggregate

COUNTRIES = "/api/v1/countries"
PROJECTS = "/api/v1/projects"
REGIONS = "/api/v1/regions"
SECTORS = "/api/v1/sectors"
INCIDENTS = "/api/v1/incidents"
USERS = "/api/v1/users"
TOKENS = "/api/v1/tokens"
EVENTS = "/api/v1/events"
"""Server-sent events: one for each change, `id` the positions up to it (see `event_positions`)."""
WAKE = "/api/v1/sync/wake"
"""Long poll: answers as soon as there is a change behind the positions that a device holds."""
OPENAPI = "/openapi.json"
ASYNCAPI = "/asyncapi.json"
LIVE = "/healthz/live"
READY = "/healthz/ready"
METRICS = "/metrics"

Region = Literal["ams", "iad", "syd", "sin", "sfo", "jnb"]
Sector = Literal["Agriculture", "Minerals", "Energy", "Technology", "Health", "Education"]
Status = Literal["Active", "Pending", "Completed"]
Role = Literal["reader", "steward", "operator", "admin"]
IncidentKind = Literal["reported", "consumer-lag", "failover", "dead-letter"]
Severity = Literal["info", "warning", "critical"]
IncidentStatus = Literal["open", "closed"]

# Headers of requests and answers, beside the standard ones.
IDEMPOTENCY_KEY = "Idempotency-Key"
"""On a write: a retry with the same key and the same request gets the first one's answer and changes nothing."""
IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
"""`true` on an answer that an earlier request with the same key had got."""
WRITTEN = "Covenant-Written"
"""On the answer to a write; a reader that sends it back as READ_AFTER sees that write, in any region."""
READ_AFTER = "Covenant-Read-After"


class Country(msgspec.Struct, frozen=True, kw_only=True):
    """A country that pledges 0.001% of its GDP. `id` is its ISO 3166-1 alpha-3 code."""

    id: str
    name: str
    continent: str
    region: Region
    gdp_usd_billions: Decimal
    gdp_year: int
    gdp_source: str
    gdp_approximate: bool
    contribution_usd_millions: Decimal
    version: int
    incarnation: int = 0


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """`version` counts its changes from 1. `incarnation` is another random number, at most 2**53, each time that the id
    is made anew (0: recorded before items had any). The ETag is `"<incarnation>-<version>"`; so it is for every
    item."""

    id: str
    name: str
    region: Region
    country_code: str
    sector: Sector
    status: Status
    funding_usd_millions: Decimal
    version: int
    incarnation: int = 0


class NewProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST. A client may choose the `id` (a UUID), so that it can look for its write afterwards and
    that a retry after a timeout finds it (409 with the existing one's ETag)."""

    name: str
    region: Region
    country_code: str
    sector: Sector
    status: Status
    funding_usd_millions: Decimal
    id: str | None = None


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST. The client makes its own secret, at least 32 random bytes, and only its hash leaves it."""

    id: str
    role: Role
    secret_sha256: str
    """64 hexadecimal digits, lower case."""
    region: Region | None = None
    """Where a steward may write; null for every other role."""
    rate_per_s: int = 1_000


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A machine client and what it may do. `rate_per_s` is how many requests a second each API process takes
    from it before it answers 429."""

    id: str
    role: Role
    region: Region | None
    rate_per_s: int
    disabled: bool
    version: int
    incarnation: int = 0


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST to TOKENS; names as in RFC 6749, section 4.4."""

    client_id: str
    client_secret: str
    grant_type: Literal["client_credentials"] = "client_credentials"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token and how long it is valid (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class NewIncident(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST by an operator. As with projects, the client may choose the `id`."""

    region: Region
    severity: Severity
    title: str
    detail: str = ""
    id: str | None = None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What people should know of. `subject` is what it is about (`analytics`, `postgres`); the system
    itself keeps at most one open incident of a kind and subject. Instants are ISO 8601, UTC."""

    id: str
    region: Region
    kind: IncidentKind
    severity: Severity
    status: IncidentStatus
    subject: str
    title: str
    detail: str
    raised_by: str
    """A user's id, or `system`."""
    opened_at: str
    closed_at: str | None
    version: int
    incarnation: int = 0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that were refused for the same reason within a moment, as the audit trail keeps them."""

    client_id: str
    """Who it was, as far as that was proven; `anonymous` otherwise."""
    region: Region
    method: str
    route: str
    status: int
    reason: str
    count: int
    last_at: str


class SectorName(msgspec.Struct, frozen=True, kw_only=True):
    """What a project's `sector` may be."""

    id: Sector


class RegionTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What analytics has rolled up for a region, `as_of` its position in each partition of both streams;
    eventually equal to the sums over countries and projects."""

    id: Region
    city: str
    aws_region: str
    countries: int
    contribution_usd_millions: Decimal
    projects: int
    funding_usd_millions: Decimal
    by_sector: dict[str, int]
    by_status: dict[str, int]
    as_of: dict[str, int]


class WakeUp(msgspec.Struct, frozen=True, kw_only=True):
    """Which aggregates have changed behind the positions that a device named, and how far it is now: what it names
    next time (see `event_positions`)."""

    changed: list[Aggregate]
    position: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 problem+json. `detail` says what was expected and what was found."""

    type: str
    title: str
    status: int
    detail: str

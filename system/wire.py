"""The published contract: paths, subjects and message shapes. Clients are written against this alone.

Money is in millions of USD as a decimal number with at most two digits after the point, so that totals
reconcile to the cent of a million; JSON carries it as a number, and readers must not pass it through binary
floating point if they add it up.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

# HTTP.
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


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """`version` counts its changes from 1 and is the ETag (`"<version>"`)."""

    id: str
    name: str
    region: Region
    country_code: str
    sector: Sector
    status: Status
    funding_usd_millions: Decimal
    version: int


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
    """Something that somebody should know of. `subject` is what it is about (`analytics`, `postgres`); the system
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


# Events on the bus.
MESSAGE_ID_HEADER = "Nats-Msg-Id"
POSITIONS_HEADER = "Covenant-Positions"
"""`first-last`: the positions of the events in a message, so that one which cannot be read still tells them."""
PARTITIONS = 4
"""Partitions a stream: an aggregate's events always go to the same one, and are in order there."""
EVENTS_A_MESSAGE_MAX = 500
MESSAGE_BYTES_MAX = 512 * 1024
"""How much the relay puts into one message; a single event that is larger has a message to itself."""

Aggregate = Literal["countries", "projects", "users", "incidents"]
EventType = Literal["created", "updated", "deleted", "refused"]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A JetStream stream: limits are the seed's. A message is a JSON array of events of one partition, with
    positions that follow on one another."""

    name: str
    aggregate: Aggregate
    subjects: list[str]
    max_msgs: int
    max_age_s: int
    health_subject: str
    """A publish here proves that the stream takes messages; consumers of events do not see it."""


def _stream(aggregate: Aggregate, prefix: str, max_msgs: int, days: int) -> Stream:
    return Stream(
        name=prefix.upper().replace(".", "_"),
        aggregate=aggregate,
        subjects=[f"{prefix}.>"],
        max_msgs=max_msgs,
        max_age_s=days * 86_400,
        health_subject=f"{prefix}.health",
    )


COUNTRIES_STREAM = _stream("countries", "covenant.countries", 1_000_000, 30)
PROJECTS_STREAM = _stream("projects", "covenant.projects", 1_000_000, 30)
USERS_STREAM = _stream("users", "covenant.users", 100_000, 7)
INCIDENTS_STREAM = _stream("incidents", "alerts.incidents", 10_000, 1)
STREAMS = (COUNTRIES_STREAM, PROJECTS_STREAM, USERS_STREAM, INCIDENTS_STREAM)
_BY_AGGREGATE = {stream.aggregate: stream for stream in STREAMS}

DEAD_LETTERS = "COVENANT_DEAD_LETTERS"
"""The stream of what a consumer could not apply; each message is a DeadLetter."""
DEAD_LETTERS_SUBJECTS = "covenant.dead-letters.>"
DEAD_LETTERS_MSGS_MAX = 100_000
DEAD_LETTERS_AGE_S = 30 * 86_400


def stream_of(aggregate: Aggregate) -> Stream:
    """The stream that carries the events of an aggregate."""
    return _BY_AGGREGATE[aggregate]


def event_subject(partition: str) -> str:
    """`covenant.projects.events.2`: what the events of a partition (`projects.2`) are published on."""
    aggregate, _, number = partition.partition(".")
    return f"{_prefix(aggregate)}.events.{number}"


def events_filter(aggregate: Aggregate) -> str:
    """All events of an aggregate, without health probes."""
    return f"{_prefix(aggregate)}.events.>"


def inbox_prefix(user: str) -> str:
    """What the subjects begin with on which a user of the bus hears answers; nobody else may hear them."""
    return f"_INBOX_{user}"


def gap_reader(durable: str) -> str:
    """The name of the consumer with which a durable's owner reads again what it was not given."""
    return f"{durable}-gaps"


def dead_letter_subject(consumer: str, partition: str) -> str:
    """`covenant.dead-letters.analytics.projects.2`."""
    return f"covenant.dead-letters.{consumer}.{partition}"


def _prefix(aggregate: str) -> str:
    return _BY_AGGREGATE[msgspec.convert(aggregate, Aggregate)].health_subject.removesuffix(".health")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change of one aggregate, the part that all consumers need. `position` counts the events of a
    `partition` from 1 without gaps, in the order in which they took effect; a consumer that has applied
    position n takes n + 1 next, knows anything at or below n as a duplicate, and fetches what is missing
    before anything above n + 1."""

    id: str
    type: EventType
    aggregate: Aggregate
    aggregate_id: str
    partition: str
    """`projects.0` ... `projects.3`."""
    position: int
    region: Region | None
    """Where the aggregate belongs; null for users that belong to none."""
    occurred_at: str
    """ISO 8601, UTC: the transaction's time."""


class ProjectEvent(Event, frozen=True, kw_only=True):
    """`before` is null for a creation, `after` for a deletion."""

    before: Project | None
    after: Project | None


class CountryEvent(Event, frozen=True, kw_only=True):
    """Countries are only updated."""

    before: Country
    after: Country


class UserEvent(Event, frozen=True, kw_only=True):
    """A machine client was created, changed or deleted; or requests were `refused`: then `refusal` says which,
    and `aggregate_id` is its `client_id`."""

    before: User | None
    after: User | None
    refusal: Refusal | None = None


class IncidentEvent(Event, frozen=True, kw_only=True):
    """`before` is null for a new incident; they are never deleted."""

    before: Incident | None
    after: Incident


EVENT_KINDS: dict[Aggregate, type[Event]] = {
    "countries": CountryEvent,
    "projects": ProjectEvent,
    "users": UserEvent,
    "incidents": IncidentEvent,
}


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer put aside, and why. `first` and `last` are the positions that it moved past, null for a
    message that is none of the relay's; `payload` is the message or the event as it was (base64 in JSON)."""

    consumer: str
    region: Region
    stream: str
    sequence: int
    partition: str
    first: int | None
    last: int | None
    reason: str
    failed_at: str
    payload: bytes


def event_positions(positions: dict[str, int]) -> str:
    """The `id` of a server-sent event, and what Last-Event-ID and `since` hold: the position in each partition,
    `countries.0:3,projects.2:17`; partitions at 0 are left out."""
    return ",".join(f"{partition}:{position}" for partition, position in sorted(positions.items()) if position)

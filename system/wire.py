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
OPENAPI = "/openapi.json"
LIVE = "/healthz/live"
READY = "/healthz/ready"
METRICS = "/metrics"

Region = Literal["ams", "iad", "syd", "sin", "sfo", "jnb"]
Sector = Literal["Agriculture", "Minerals", "Energy", "Technology", "Health", "Education"]
Status = Literal["Active", "Pending", "Completed"]


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


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 problem+json. `detail` says what was expected and what was found."""

    type: str
    title: str
    status: int
    detail: str


# Events on the bus.
EVENT_ID_HEADER = "Nats-Msg-Id"
PARTITIONS = 4
"""Partitions a stream: an aggregate's events always go to the same one, and are in order there."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A JetStream stream: limits are the seed's."""

    name: str
    subjects: list[str]
    max_msgs: int
    max_age_s: int
    health_subject: str
    """A publish here proves that the stream takes messages; consumers of events do not see it."""


DAY_S = 86_400
COUNTRIES_STREAM = Stream(
    name="COVENANT_COUNTRIES",
    subjects=["covenant.countries.>"],
    max_msgs=1_000_000,
    max_age_s=30 * DAY_S,
    health_subject="covenant.countries.health",
)
PROJECTS_STREAM = Stream(
    name="COVENANT_PROJECTS",
    subjects=["covenant.projects.>"],
    max_msgs=1_000_000,
    max_age_s=30 * DAY_S,
    health_subject="covenant.projects.health",
)
STREAMS = (COUNTRIES_STREAM, PROJECTS_STREAM)


def event_subject(aggregate: str, region: str, partition: str) -> str:
    """`covenant.projects.events.ams.2`: what an event of that region and partition is published on."""
    return f"covenant.{aggregate}.events.{region}.{partition.rpartition('.')[2]}"


def events_filter(aggregate: str) -> str:
    """All events of an aggregate, without health probes."""
    return f"covenant.{aggregate}.events.>"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change of one aggregate, the part that all consumers need. `position` counts the events of a
    `partition` from 1 without gaps, in the order in which they took effect; a consumer that has applied
    position n takes n + 1 next, knows anything at or below n as a duplicate, and fetches what is missing
    before anything above n + 1."""

    id: str
    type: Literal["created", "updated", "deleted"]
    aggregate: Literal["countries", "projects"]
    aggregate_id: str
    partition: str
    """`projects.0` ... `projects.3`."""
    position: int
    region: Region
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

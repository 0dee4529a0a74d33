"""Events: what a message of a stream holds, and what becomes of one that a consumer cannot apply."""

from __future__ import annotations

from typing import Literal

import msgspec

from system.wire.http import Country, Incident, Project, Refusal, Region, User
from system.wire.streams import Aggregate

EventType = Literal["created", "updated", "deleted", "refused"]


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

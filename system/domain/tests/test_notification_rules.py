"""Which events become notifications, and how long a failed delivery waits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.domain.notification_rules import EXPIRES_AFTER_S, again_after_s, notification_of
from system.wire import Event, Incident, IncidentEvent, Project, ProjectEvent, UserEvent

PROJECT = Project(
    id="00000000-0000-4000-8000-000000000001", name="Wells", region="syd", country_code="AUS", sector="Health",
    status="Pending", funding_usd_millions=Decimal("1.25"), version=1,
)  # fmt: skip
INCIDENT = Incident(
    id="00000000-0000-4000-8000-000000000002", region="iad", kind="failover", severity="warning", status="open",
    subject="postgres", title="PostgreSQL failed over", detail="timeline 1 to 2", raised_by="system",
    opened_at="2026-01-01T00:00:00Z", closed_at=None, version=1,
)  # fmt: skip
COMMON: dict[str, Any] = {
    "id": "00000000-0000-4000-9000-000000000001", "aggregate_id": "x", "position": 1, "region": "syd",
    "occurred_at": "2026-01-01T00:00:00Z",
}  # fmt: skip


def of_project(before: Project | None, after: Project | None) -> ProjectEvent:
    return ProjectEvent(
        **COMMON, type="updated", aggregate="projects", partition="projects.0", before=before, after=after
    )


def of_incident(before: Incident | None, after: Incident) -> IncidentEvent:
    return IncidentEvent(
        **COMMON, type="updated", aggregate="incidents", partition="incidents.0", before=before, after=after
    )


ACTIVE = msgspec.structs.replace(PROJECT, status="Active", version=2)
RENAMED = msgspec.structs.replace(PROJECT, name="Deep wells", version=2)
CLOSED = msgspec.structs.replace(INCIDENT, status="closed", closed_at="2026-01-01T00:01:00Z", version=2)


@pytest.mark.parametrize(
    ("event", "topic", "title", "text"),
    [
        (of_project(None, PROJECT), "region.syd", "New project: Wells", "Health, AUS, pending"),
        (of_project(PROJECT, ACTIVE), "region.syd", "Wells is active", "Health, AUS, active, was pending"),
        (of_incident(None, INCIDENT), "region.iad", "Incident: PostgreSQL failed over", "timeline 1 to 2"),
        (of_incident(INCIDENT, CLOSED), "region.iad", "Closed: PostgreSQL failed over", "timeline 1 to 2"),
    ],
)
def test_incidents_and_new_and_changed_projects_become_notifications(
    event: Event, topic: str, title: str, text: str
) -> None:
    notification = notification_of(event)
    assert notification is not None
    assert (notification.id, notification.topic, notification.title) == (event.id, topic, title)
    assert notification.body["text"] == text
    assert notification.body["id"] in (PROJECT.id, INCIDENT.id)


@pytest.mark.parametrize(
    "event",
    [
        of_project(PROJECT, RENAMED),
        of_project(PROJECT, None),
        of_incident(INCIDENT, msgspec.structs.replace(INCIDENT, detail="more", version=2)),
        UserEvent(**COMMON, type="deleted", aggregate="users", partition="users.0", before=None, after=None),
    ],
)
def test_other_events_do_not(event: Event) -> None:
    assert notification_of(event) is None


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_delivery_waits_longer_and_longer_but_never_too_long(
    attempts: int, jitter: float, asked_s: float | None
) -> None:
    wait_s = again_after_s(attempts, jitter, asked_s)
    assert 0.5 <= wait_s <= EXPIRES_AFTER_S
    assert wait_s >= min(asked_s or 0.0, EXPIRES_AFTER_S)
    assert again_after_s(attempts + 1, jitter) >= again_after_s(attempts, jitter)


def test_the_first_waits_double() -> None:
    assert [again_after_s(attempts, 0.0) for attempts in (1, 2, 3, 9, 10, 99)] == [1, 2, 4, 256, 300, 300]
    assert again_after_s(3, 1.0) == 2

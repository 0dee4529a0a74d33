"""Which events become notifications, with what text, and when a failed delivery is tried again."""

from __future__ import annotations

from typing import Any

import msgspec

from system.wire import Event, Incident, IncidentEvent, Project, ProjectEvent

EXPIRES_AFTER_S = 24 * 3_600
"""After this a notification that was not delivered is given up."""
_AGAIN_FIRST_S, _AGAIN_LONGEST_S = 1.0, 300.0


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification for the followers of a topic. `id` is its event's id, the same at every attempt."""

    id: str
    topic: str
    """The region of the event, as `region.ams`."""
    title: str
    body: dict[str, Any]
    """For an app: `text`, and the `kind`, `id` and `status` of the incident or project."""


def notification_of(event: Event) -> Notification | None:
    """The notification for an event: an incident that was opened or closed, a project that was created or whose status
    changed. None for any other event."""
    if isinstance(event, IncidentEvent):
        return _of_incident(event.id, event.before, event.after)
    if isinstance(event, ProjectEvent) and event.after is not None:
        return _of_project(event.id, event.before, event.after)
    return None


def again_after_s(attempts: int, jitter: float, asked_s: float | None = None) -> float:
    """Seconds to wait after so many failed attempts (at least one): 1 s, doubling up to 5 minutes. `jitter` (0 to 1)
    takes away up to half of that, so that notifications that failed together are not retried together. `asked_s`, the
    push service's Retry-After, is a minimum."""
    longest = min(_AGAIN_FIRST_S * 2.0 ** min(attempts - 1, 30), _AGAIN_LONGEST_S)
    return max(longest * (1 - jitter / 2), min(asked_s or 0.0, EXPIRES_AFTER_S))


def _of_incident(identity: str, before: Incident | None, after: Incident) -> Notification | None:
    if before is not None and before.status == after.status:
        return None
    title = f"{'Incident' if after.status == 'open' else 'Closed'}: {after.title}"
    return _notification(identity, after.region, title, after.detail, "incident", after.id, after.status)


def _of_project(identity: str, before: Project | None, after: Project) -> Notification | None:
    if before is not None and before.status == after.status:
        return None
    title = f"New project: {after.name}" if before is None else f"{after.name} is {after.status.lower()}"
    was = "" if before is None else f", was {before.status.lower()}"
    text = f"{after.sector}, {after.country_code}, {after.status.lower()}{was}"
    return _notification(identity, after.region, title, text, "project", after.id, after.status)


def _notification(
    identity: str, region: str, title: str, text: str, kind: str, about: str, status: str
) -> Notification:
    body = {"text": text, "kind": kind, "id": about, "status": status}
    return Notification(id=identity, topic=f"region.{region}", title=title, body=body)

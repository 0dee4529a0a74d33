"""`GET /api/v1/events`: every change as it happens, as server-sent events.

The `id` of an event is the position in each partition after it. A client that reconnects with its last id
(Last-Event-ID) gets exactly the events that it lacks, in order within each partition, from any process of any region:
from the hub's log if that reaches back far enough, else from the outbox.

Without an id the stream starts with the next event. It begins with an id without data, which browsers remember, so that
a client that loses its connection before the first event misses nothing. Heartbeats carry an id, too.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from litestar import Request, get

from system import wire
from system.api.auth.authorization import require
from system.api.auth.tokens import Principal
from system.api.http.messages import header, read_query
from system.api.http.openapi import documented
from system.api.http.problems import ApiError, Refused
from system.api.live.event_stream import EventStream
from system.api.services import services_of
from system.domain.event_log import parse_positions
from system.domain.permissions import may, roles_that_may
from system.wire import ALL_PARTITIONS, Aggregate

_AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
_RESTRICTED: Aggregate = "users"
_LAST_ID_LENGTH_MAX = 1_000


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since: str | None = None
    """The `id` of an event. The header Last-Event-ID has precedence."""
    aggregates: str | None = None
    """Some of countries, projects, users, incidents, separated by commas; without it all that the client may see."""


@get(
    wire.EVENTS,
    summary="Events as they happen (server-sent events); `id` and Last-Event-ID hold positions",
    opt=documented(str, query=EventsQuery, media_type="text/event-stream", statuses=(403, 410)),
)
async def events(request: Request[Any, Any, Any]) -> EventStream:
    principal = require(request, "read")
    query = read_query(request, EventsQuery)
    aggregates = wanted_aggregates(query.aggregates, principal)
    since = positions_given(header(request, b"last-event-id"), query.since)
    return EventStream(services_of(request).event_streams, principal, aggregates, since)


def wanted_aggregates(text: str | None, principal: Principal) -> tuple[Aggregate, ...]:
    """The aggregates whose events a client gets. ApiError 400 for an unknown one, Refused (403) for a forbidden one."""
    may_see_users = may(principal.role, principal.region, "read-users")
    if text is None:
        return tuple(one for one in _AGGREGATES if may_see_users or one != _RESTRICTED)
    asked = text.split(",")
    for one in asked:
        if one not in _AGGREGATES:
            raise ApiError(400, f"aggregates: expected some of {', '.join(_AGGREGATES)}, found {one[:40]!r}")
    if _RESTRICTED in asked and not may_see_users:
        reason = f"{principal.role} may not read-users"
        raise Refused(403, f"{reason}; allowed: {roles_that_may('read-users')}", reason)
    return tuple(one for one in _AGGREGATES if one in asked)


def positions_given(*texts: str | None) -> dict[str, int] | None:
    """Partition -> position, from the first text that is not None; None without one. ApiError 400 if it is invalid."""
    text = next((one for one in texts if one is not None), None)
    if text is None:
        return None
    try:
        if len(text) > _LAST_ID_LENGTH_MAX:
            raise ValueError(f"expected at most {_LAST_ID_LENGTH_MAX} characters, found {len(text)}")
        return parse_positions(text, ALL_PARTITIONS)
    except ValueError as error:
        raise ApiError(400, f"Last-Event-ID or since: {error}") from None


HANDLERS = [events]

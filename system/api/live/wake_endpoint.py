"""`GET /api/v1/sync/wake`: a long poll with which a device waits for changes after the positions that it holds. The
answer says which aggregates have changed; what changed is the sync protocol's part.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.types import Receive, Scope, Send

from system import wire
from system.api.auth.authorization import require
from system.api.auth.tokens import Principal
from system.api.http.messages import Answer, encode, read_query
from system.api.http.openapi import documented
from system.api.live.events_endpoint import positions_given, wanted_aggregates
from system.api.live.waiters import Waiter, watch_disconnect
from system.api.live.wake_hub import WakeHub
from system.api.services import services_of
from system.domain.event_log import aggregate_of
from system.wire import Aggregate, WakeUp, event_positions

WAIT_MAX_S = 25
_NO_STORE = {"cache-control": "no-store"}


class WakeQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since: str | None = None
    """The positions of an earlier answer; without them only later changes count."""
    wait_s: Annotated[int, msgspec.Meta(ge=0, le=WAIT_MAX_S)] = WAIT_MAX_S


@get(
    wire.WAKE,
    summary="What has changed behind these positions; waits until something has",
    opt=documented(WakeUp, query=WakeQuery),
)
async def wake(request: Request[Any, Any, Any]) -> WakeAnswer:
    principal = require(request, "read")
    query = read_query(request, WakeQuery)
    return WakeAnswer(services_of(request).wake_hub, principal, positions_given(query.since), query.wait_s)


class WakeAnswer:
    """The answer to one device: an ASGI application that waits for a change."""

    def __init__(self, hub: WakeHub, principal: Principal, since: dict[str, int] | None, wait_s: int) -> None:
        self._hub = hub
        self._principal = principal
        self._aggregates = wanted_aggregates(None, principal)
        self._since = since
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._hub.limit.hold(self._principal.client_id):
            async with self._hub.joined() as waiter, watch_disconnect(receive, waiter):
                answer = await self._answer(waiter)
        if not waiter.gone:
            await Answer(encode(answer), headers=_NO_STORE)(scope, receive, send)

    async def _answer(self, waiter: Waiter) -> WakeUp:
        since = dict(self._hub.positions if self._since is None else self._since)
        until = time.monotonic() + self._wait_s
        while True:
            changed = changed_since(since, self._hub.positions, self._aggregates)
            left_s = until - time.monotonic()
            if changed or left_s <= 0 or waiter.gone or self._hub.ended:
                break
            await waiter.wait(left_s)
        names = since.keys() | self._hub.positions.keys()
        latest = {name: max(since.get(name, 0), self._hub.positions.get(name, 0)) for name in names}
        return WakeUp(changed=changed, position=event_positions(latest))


def changed_since(
    since: Mapping[str, int], positions: Mapping[str, int], aggregates: tuple[Aggregate, ...]
) -> list[Aggregate]:
    """The aggregates with a position after those that a device holds (`since`)."""
    names = {aggregate_of(name) for name, at in positions.items() if at > since.get(name, 0)}
    return [one for one in aggregates if one in names]


HANDLERS = [wake]

"""The services that handlers use: database, cache, tokens, health, hubs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from litestar import Request

from system.api.auth.middleware import AuthMiddleware
from system.api.auth.refusal_recorder import RefusalRecorder
from system.api.auth.token_issuer import TokenIssuer
from system.api.health import Health
from system.api.live.event_stream import EventStreams
from system.api.live.wake_hub import WakeHub
from system.api.relay_hint import RelayHint
from system.store.own_writes import OwnWrites
from system.store.primary import Primary
from system.store.reader import Reader
from system.store.single_flight import SingleFlight


@dataclass(frozen=True)
class Services:
    """One set for the process, shared by all requests; see `system.api.wiring`."""

    region: str
    reader: Reader
    primary: Primary
    totals: SingleFlight[bytes]
    relay_hint: RelayHint
    health: Health
    auth: AuthMiddleware
    token_issuer: TokenIssuer
    refusals: RefusalRecorder
    own_writes: OwnWrites
    event_streams: EventStreams
    wake_hub: WakeHub

    def end_waiting(self) -> None:
        """End every request that waits for news, so that the server can stop."""
        self.event_streams.hub.end()
        self.wake_hub.end()


def services_of(request: Request[Any, Any, Any]) -> Services:
    """The services of the application that handles a request."""
    return cast(Services, request.app.state.services)

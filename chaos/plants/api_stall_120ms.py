"""Every read of the API waits 120 ms before it is handled, as behind a lock that is held too long.

The process itself stays responsive: only the requests are late, which a health check does not see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chaos.plants.patching import replace

STALL_S = 0.12
_READS = "/api/v1/"


def apply() -> None:
    """Plant it into this process."""
    replace("system.api.app", "create_app", ("services",), _stalled)


def _stalled(create_app: Callable[..., Any]) -> Callable[..., Any]:
    def create_stalled_app(services: Any) -> Any:
        app = create_app(services)

        async def stalled(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(_READS):
                await asyncio.sleep(STALL_S)
            await app(scope, receive, send)

        return stalled

    return create_stalled_app

"""Connections of nats-py, for the few questions of a load that need no speed: streams, their configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from infra.machine.spec import EngineError
from infra.target import Login, Target


@asynccontextmanager
async def connected(
    target: Target, login: Login, *, name: str, within_s: float = 5.0, reconnects: bool = False
) -> AsyncIterator[Client]:
    """A connection to one of the target's nodes, closed at the end. EngineError if none takes us in time."""
    try:
        # nats.connect can wait far longer for a server that refuses than its own timeout says.
        async with asyncio.timeout(within_s):
            client = await nats.connect(
                **target.nats_options(login), allow_reconnect=reconnects, name=name, error_cb=_ignore
            )  # fmt: skip
    except (NatsError, OSError, TimeoutError) as error:
        raise EngineError(
            f"expected a NATS server that takes us within {within_s:.0f} s: {error!r}; ./covenant status"
        ) from None
    try:
        yield client
    finally:
        await client.close()


async def _ignore(error: Exception) -> None:
    """What nats-py reports beside the request that failed; the request raises it, too."""

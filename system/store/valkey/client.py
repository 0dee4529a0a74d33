"""Connections to a region's Valkey, and what its errors mean."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from system.settings import Settings

_CONNECTIONS_MAX = 64
_TEMPORARY = frozenset({"BUSY", "MISCONF", "NOREPLICAS", "UNKILLABLE"})
"""Error codes that speak of Valkey's own state, among those for which redis-py has no class."""


def connect(settings: Settings, timeout_s: float) -> Redis:
    """A client of the region's Valkey. It connects at its first command, and each command has this timeout."""
    host, _, port = settings.valkey.rpartition(":")
    return Redis(
        host=host,
        port=int(port),
        password=settings.valkey_password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=_CONNECTIONS_MAX,
        retry=Retry(NoBackoff(), 0),
    )


def is_fault(error: RedisError) -> bool:
    """Whether a script failed because of its code or its arguments, so that trying again does not help. A Valkey that
    is loading, read-only, out of memory or without the script also answers with an error, but a temporary one;
    redis-py has classes for most of those."""
    return type(error) is ResponseError and str(error).partition(" ")[0] not in _TEMPORARY


async def answer(command: Any) -> Any:
    """What Valkey answers to a command. Await every command through this.

    redis-py uses asyncio.wait_for, which before Python 3.12 swallows a cancellation that arrives just when the awaited
    result does. The task would go on; this raises the CancelledError again.
    """
    found = await command
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return found

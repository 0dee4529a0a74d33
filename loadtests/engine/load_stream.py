"""The stream that bulk load goes to: its own, with its own limits, empty when a run begins.

At the rates of a load test the business streams' cap of a million messages is minutes; this one's limits
are stated so that nothing is evicted before it has been checked.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from infra.machine.spec import EngineError
from infra.target import Target
from loadtests.clients.nats_py import connected

NAME = "LOAD"
SUBJECTS = "load.>"
MAX_MSGS = 20_000_000
MAX_BYTES = 3 * 1024**3
"""100,000 messages of 128 bytes for two minutes, or 300,000 events a second for one."""
MAX_AGE_S = 3600.0
DUPLICATE_WINDOW_S = 120.0
_REQUEST_TIMEOUT_S = 5.0
_CURRENT_DEADLINE_S = 15.0
_POLL_S = 0.1


def subject(run_id: str) -> str:
    """Below which the messages of a run go."""
    # A subject's token may not hold dots, spaces or wildcards.
    return SUBJECTS.removesuffix(">") + re.sub(r"[^A-Za-z0-9_-]", "-", run_id)


def _config(replicas: int) -> StreamConfig:
    return StreamConfig(
        name=NAME,
        subjects=[SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        max_msgs=MAX_MSGS,
        max_bytes=MAX_BYTES,
        max_age=MAX_AGE_S,
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        num_replicas=replicas,
        duplicate_window=DUPLICATE_WINDOW_S,
        # A server that is too old for one of these refuses its batches.
        allow_atomic=True,
        allow_batched=True,
    )


@asynccontextmanager
async def _jetstream(target: Target) -> AsyncIterator[JetStreamContext]:
    """A connection of its own for a few requests; EngineError for whatever goes wrong with them."""
    async with connected(target, target.nats_load, name="load-stream") as client:
        try:
            yield client.jetstream(timeout=_REQUEST_TIMEOUT_S)
        except (NatsError, OSError, TimeoutError) as error:
            raise EngineError(f"stream {NAME}: {error!r}; ./covenant status") from None


async def prepare(target: Target) -> int:
    """Have the stream, empty and with every replica current; the sequence that its next message gets."""
    async with _jetstream(target) as jetstream:
        try:
            await jetstream.update_stream(_config(target.stream_replicas))
        except NotFoundError:
            await jetstream.add_stream(_config(target.stream_replicas))
        await jetstream.purge_stream(NAME)
        info = await _all_current(jetstream, target.stream_replicas)
        return int(info.state.last_seq) + 1


async def _all_current(jetstream: JetStreamContext, replicas: int) -> StreamInfo:
    """Wait until the stream is replicated as its setting says: else its figures would be of another one."""
    deadline = asyncio.get_running_loop().time() + _CURRENT_DEADLINE_S
    while True:
        info = await jetstream.stream_info(NAME)
        followers = (info.cluster.replicas if info.cluster else None) or []
        current = 1 + sum(bool(replica.current) and not replica.offline for replica in followers)
        if current >= replicas:
            return info
        if asyncio.get_running_loop().time() > deadline:
            raise EngineError(
                f"stream {NAME}: expected {replicas} current replicas within {_CURRENT_DEADLINE_S:.0f} s, found "
                f"{current}; ./covenant status tells which node is away"
            )
        await asyncio.sleep(_POLL_S)


async def bounds(target: Target) -> tuple[int, int]:
    """(first, last) sequence that the stream holds."""
    async with _jetstream(target) as jetstream:
        state = (await jetstream.stream_info(NAME)).state
        return int(state.first_seq), int(state.last_seq)


async def delete(target: Target) -> None:
    """Give its space back; nothing to do if it is gone."""
    async with _jetstream(target) as jetstream:
        with suppress(NotFoundError):
            await jetstream.delete_stream(NAME)


async def clear_away(target: Target) -> None:
    """Delete it at the end of a load; where that fails, stderr says so."""
    try:
        await delete(target)
    except EngineError as error:
        # The evidence is whole without it; the next load empties the stream before it begins.
        print(f"the stream stays behind: {error}", file=sys.stderr, flush=True)

"""A canary that goes through the bus, and the search for it on the bus's disks."""

from __future__ import annotations

import asyncio
import mmap
import secrets
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from infra.fabric.process import System
from loadtests.engine import load_stream
from loadtests.engine.process import EngineError

_WITHIN_S = 15.0


def new_canary() -> str:
    """A word that is nowhere yet."""
    return f"canary{secrets.token_hex(12)}"


async def where_found(system: System, canary: str) -> dict[str, list[str]]:
    """Node of the bus -> its files that hold the canary, after it was stored and read again as payload, header and
    subject. EngineError if the bus did not take it."""
    target = system.target()
    await load_stream.prepare(target)
    try:
        async with asyncio.timeout(_WITHIN_S):
            client = await nats.connect(**target.nats_options(target.nats_load), allow_reconnect=False)
            try:
                await _through(client, canary)
                stores = [*system.place.nodes("nats"), *system.place.nodes("mirror")]
                return {node.name: holding(system.site.folder(node), canary.encode()) for node in stores}
            finally:
                await client.close()
    except (NatsError, TimeoutError) as error:
        raise EngineError(f"the canary did not go through the bus: {error!r}; ./covenant status") from error
    finally:
        await load_stream.delete(target)


async def _through(client: Client, canary: str) -> None:
    js = client.jetstream(timeout=5)
    subject = f"load.{canary}"
    ack = await js.publish(subject, canary.encode(), headers={"Canary": canary})
    stored = await js.get_msg(load_stream.NAME, ack.seq)
    if stored.data != canary.encode() or stored.subject != subject:
        raise EngineError(f"expected the canary in {load_stream.NAME}, found {stored.subject}")


def holding(folder: Path, word: bytes) -> list[str]:
    """The files below a folder in which a word stands, relative to it."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if _holds(file, word))


def _holds(file: Path, word: bytes) -> bool:
    try:
        if not file.is_file() or not file.stat().st_size:
            return False
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(word) >= 0
    except (FileNotFoundError, ValueError):
        return False  # It went while we looked: a block that was rewritten is found under its new name.

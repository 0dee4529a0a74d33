"""A canary that goes through the bus and into its mirrors, and the search for it on their disks."""

from __future__ import annotations

import asyncio
import mmap
import secrets
from pathlib import Path

from nats import connect
from nats.aio.client import Client
from nats.errors import Error as NatsError

from infra.fabric.protocol import Fabric
from infra.machine.spec import EngineError
from infra.parts import nats
from infra.parts.mirror import Mirror
from infra.parts.nats import Nats
from infra.site.site import Place
from infra.topology.model import Node
from loadtests.engine import load_stream
from system import wire

_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.2
_MIRRORED = wire.PROJECTS_STREAM


def new_canary() -> str:
    """A word that is nowhere yet."""
    return f"canary{secrets.token_hex(12)}"


async def where_found(system: Fabric, canary: str) -> dict[str, list[str]]:
    """Node of the bus or of a mirror -> its files that hold the canary, after it was stored and read again as payload,
    header and subject (as payload and header where a mirror has it from). EngineError if one did not take it."""
    target = system.target()
    await load_stream.prepare(target)
    try:
        async with asyncio.timeout(_WITHIN_S):
            client = await connect(**target.nats_options(target.nats_load), allow_reconnect=False)
            try:
                bus, mirrors = system.place.nodes(Nats.kind), system.place.nodes(Mirror.kind)
                await _held(system.place, bus, load_stream.NAME, await _through(client, canary))
                if mirrors:
                    await _held(system.place, mirrors, _MIRRORED.name, await _to_mirrors(client, canary))
                stores = [*bus, *mirrors]
                return {node.name: holding(system.site.folder(node), canary.encode()) for node in stores}
            finally:
                await client.close()
    except (NatsError, TimeoutError) as error:
        raise EngineError(f"the canary did not go through the bus: {error!r}; ./covenant status") from error
    finally:
        await load_stream.delete(target)


async def _through(client: Client, canary: str) -> int:
    """Its sequence in the load's stream."""
    js = client.jetstream(timeout=5)
    subject = f"load.{canary}"
    ack = await js.publish(subject, canary.encode(), headers={"Canary": canary})
    stored = await js.get_msg(load_stream.NAME, ack.seq)
    if stored.data != canary.encode() or stored.subject != subject:
        raise EngineError(f"expected the canary in {load_stream.NAME}, found {stored.subject}")
    return ack.seq


async def _to_mirrors(client: Client, canary: str) -> int:
    """Its sequence in a stream that has mirrors: only the system's own have. What their probes of health send may be
    sent by who puts load, too."""
    ack = await client.jetstream(timeout=5).publish(
        _MIRRORED.health_subject, canary.encode(), headers={"Canary": canary}
    )
    return ack.seq


async def _held(place: Place, nodes: list[Node], stream: str, sequence: int) -> None:
    """Until every node has it: a quorum acknowledged it, and one that lags would be found clean. The deadline is the
    caller's."""
    for node in nodes:
        while await asyncio.to_thread(nats.last_sequence, place, node, stream) < sequence:
            await asyncio.sleep(_LOOK_EVERY_S)


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

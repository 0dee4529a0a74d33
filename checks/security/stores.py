"""Sends a canary through the bus and its mirrors, and searches their disks for it."""

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
_POLL_S = 0.2
_MIRRORED = wire.PROJECTS_STREAM


def new_canary() -> str:
    """A random word."""
    return f"canary{secrets.token_hex(12)}"


async def where_found(system: Fabric, canary: str) -> dict[str, list[str]]:
    """Node of the bus or of a mirror -> the files in which it holds the canary. The canary is stored first: on the bus
    as payload, header and subject, on mirrors as payload and header. EngineError if that fails."""
    target = system.target()
    await load_stream.prepare(target)
    try:
        async with asyncio.timeout(_WITHIN_S):
            client = await connect(**target.nats_options(target.nats_load), allow_reconnect=False)
            try:
                bus, mirrors = system.place.nodes(Nats.kind), system.place.nodes(Mirror.kind)
                await _wait_until_held(system.place, bus, load_stream.NAME, await _publish(client, canary))
                if mirrors:
                    await _wait_until_held(
                        system.place, mirrors, _MIRRORED.name, await _publish_mirrored(client, canary)
                    )
                stores = [*bus, *mirrors]
                return {node.name: files_with(system.site.folder(node), canary.encode()) for node in stores}
            finally:
                await client.close()
    except (NatsError, TimeoutError) as error:
        raise EngineError(f"the canary did not go through the bus: {error!r}; ./covenant status") from error
    finally:
        await load_stream.delete(target)


async def _publish(client: Client, canary: str) -> int:
    """Store the canary in the load's stream, and read it again; its sequence there."""
    js = client.jetstream(timeout=5)
    subject = f"load.{canary}"
    ack = await js.publish(subject, canary.encode(), headers={"Canary": canary})
    stored = await js.get_msg(load_stream.NAME, ack.seq)
    if stored.data != canary.encode() or stored.subject != subject:
        raise EngineError(f"expected the canary in {load_stream.NAME}, found {stored.subject}")
    return ack.seq


async def _publish_mirrored(client: Client, canary: str) -> int:
    """Store the canary in a stream that has mirrors; its sequence there. Only the system's own streams have mirrors,
    and the load's user may publish nothing to these but health probes."""
    ack = await client.jetstream(timeout=5).publish(
        _MIRRORED.health_subject, canary.encode(), headers={"Canary": canary}
    )
    return ack.seq


async def _wait_until_held(place: Place, nodes: list[Node], stream: str, sequence: int) -> None:
    """Wait until every node holds a message: a quorum has acknowledged it, but a node that lags would be found clean.
    The caller sets the deadline."""
    for node in nodes:
        while await asyncio.to_thread(nats.last_sequence, place, node, stream) < sequence:
            await asyncio.sleep(_POLL_S)


def files_with(folder: Path, word: bytes) -> list[str]:
    """The files below a folder that contain a word, relative to the folder."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if _holds(file, word))


def _holds(file: Path, word: bytes) -> bool:
    try:
        if not file.is_file() or not file.stat().st_size:
            return False
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(word) >= 0
    except (FileNotFoundError, ValueError):
        return False  # It was deleted meanwhile; a block that was rewritten has another name now.

"""Leads this machine's own programs into the regions: who connects to 127.0.0.1:port arrives at the node behind that
port as if from within its region, without distance.

The listening sockets are of the world outside, those that dial of the regions: a socket belongs to the network
namespace in which it was made, whoever uses it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple, cast

import uvloop

from infra.wan import namespaces

_BUFFER_BYTES = 1024 * 1024
_CONNECT_WITHIN_S = 10.0
_AFTER_ERROR_S = 0.1
_RESET = struct.pack("ii", 1, 0)


class Way(NamedTuple):
    """A listening socket outside, and where it leads."""

    listener: socket.socket
    network: int
    address: tuple[str, int]


class _Pipe(asyncio.Protocol):
    """One end of a forwarded connection: what it reads, the other end writes. Its two ends come to be one after the
    other; what the first reads meanwhile waits for the second."""

    def __init__(self) -> None:
        self.other: _Pipe | None = None
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's own kind is no subclass of it.
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        transport.writelines(self._waiting)
        self._waiting.clear()
        if self._ended:
            transport.write_eof()

    def data_received(self, data: bytes) -> None:
        if self.other:
            self.other.write(data)

    def eof_received(self) -> bool:
        if self.other:
            self.other.end()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        other, self.other, self._transport = self.other, None, None
        if other:
            other.close(broken=error is not None)

    def pause_writing(self) -> None:
        if self.other and self.other._transport:
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other._transport:
            self.other._transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)
        else:
            self._waiting.append(data)

    def end(self) -> None:
        """No more is to come."""
        self._ended = True
        if self._transport:
            self._transport.write_eof()

    def close(self, *, broken: bool) -> None:
        """End the connection, so that its client sees it broken if it is."""
        if self._transport is None:
            return
        if broken:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._transport.close()


async def _forward(accepted: socket.socket, way: Way) -> None:
    loop = asyncio.get_running_loop()
    outer, inner = _Pipe(), _Pipe()
    outer.other, inner.other = inner, outer
    with namespaces.inside(way.network):
        dialling = socket.socket()
    dialling.setblocking(False)
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            await loop.sock_connect(dialling, way.address)
        for each in (accepted, dialling):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.create_connection(lambda: inner, sock=dialling)
        await loop.create_connection(lambda: outer, sock=accepted)
    except OSError:
        dialling.close()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        accepted.close()


async def _accept(way: Way, running: set[asyncio.Task[None]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            accepted, _ = await loop.sock_accept(way.listener)
        except OSError as error:  # Out of descriptors: what waits is served when others have ended.
            print(f"{way.address}: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(_AFTER_ERROR_S)
            continue
        accepted.setblocking(False)
        task = loop.create_task(_forward(accepted, way))
        running.add(task)
        task.add_done_callback(running.discard)


async def _run(ways: Sequence[Way]) -> None:
    running: set[asyncio.Task[None]] = set()
    await asyncio.gather(*(_accept(way, running) for way in ways))


def run(ways: Sequence[Way]) -> None:
    """Forward until the process is ended."""
    uvloop.run(_run(ways))

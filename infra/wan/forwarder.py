"""Leads this machine's own programs into the regions: who connects to 127.0.0.1:port arrives at the node behind that
port as if from within its region, without distance.

The listening sockets are of the world outside, those that dial of the regions: a socket belongs to the network
namespace in which it was made, whoever uses it. On asyncio's own loop: uvloop 0.23 corrupted its memory here under
many connections that were refused and reset.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, cast

from infra.wan import namespaces

_BUFFER_BYTES = 1024 * 1024
_CONNECT_WITHIN_S = 10.0
_RESET = struct.pack("ii", 1, 0)


class Way(NamedTuple):
    """A listening socket outside, and where it leads."""

    listener: socket.socket
    network: int
    address: tuple[str, int]


class _Pipe(asyncio.Protocol):
    """One end of a forwarded connection: what it reads, the other end writes. The far end comes to be after the near
    one; what the near one reads meanwhile waits for it."""

    def __init__(self) -> None:
        self.other: _Pipe | None = None
        self.transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        if self.other is None:  # The near end went while this one was dialled.
            transport.abort()
            return
        transport.writelines(self._waiting)
        self._waiting.clear()
        if self._ended:
            self.end()

    def data_received(self, data: bytes) -> None:
        if self.other:
            self.other.write(data)

    def eof_received(self) -> bool:
        if self.other:
            self.other.end()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        other, self.other, self.transport = self.other, None, None
        if other:
            other.other = None
            other.close(broken=error is not None)

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self.transport:
            self.transport.write(data)
        else:
            self._waiting.append(data)

    def end(self) -> None:
        """No more is to come."""
        self._ended = True
        if self.transport:
            with suppress(OSError):  # It may have gone without our having been told yet.
                self.transport.write_eof()

    def close(self, *, broken: bool) -> None:
        """End the connection, so that its client sees it broken if it is."""
        if self.transport is None:
            return
        if broken:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self.transport.close()


class _Near(_Pipe):
    """The end of a program of this machine; dials the far end as soon as it is there."""

    def __init__(self, way: Way, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._way = way
        self._tasks = tasks
        self.other = _Pipe()
        self.other.other = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._dial())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self) -> None:
        loop, far = asyncio.get_running_loop(), self.other
        if far is None:
            return
        with namespaces.inside(self._way.network):
            dialling = socket.socket()
        try:
            dialling.setblocking(False)
            dialling.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await loop.sock_connect(dialling, self._way.address)
        except OSError:
            dialling.close()
            far.other = None
            self.other = None
            self.close(broken=True)
            return
        await loop.create_connection(lambda: far, sock=dialling)


async def _run(ways: Sequence[Way]) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    for way in ways:
        await loop.create_server(lambda way=way: _Near(way, tasks), sock=way.listener)  # type: ignore[misc]
    await asyncio.Event().wait()


def run(ways: Sequence[Way]) -> None:
    """Forward until the process is ended."""
    asyncio.run(_run(ways))

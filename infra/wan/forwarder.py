"""Forwards connections of this machine's programs into the regions: a connection to 127.0.0.1:port reaches the node
with that port as if it came from inside the node's region, without distance.

A socket belongs to the network namespace in which it was made: the listening sockets were made outside, the connecting
ones are made inside a region. It runs on asyncio's own loop, since uvloop 0.23 corrupted its memory here under many
connections that were refused and reset.
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


class Forward(NamedTuple):
    """A listening socket outside, and the address in a region that it leads to."""

    listener: socket.socket
    network: int
    """A descriptor of the region's network namespace."""
    address: tuple[str, int]


class _Pipe(asyncio.Protocol):
    """One end of a forwarded connection: the other end writes what it reads. The far end is connected after the near
    one; until then it keeps what the near end reads."""

    def __init__(self) -> None:
        self.other: _Pipe | None = None
        self.transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        if self.other is None:  # The near end closed while this one was connecting.
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
        """Send the end of the stream."""
        self._ended = True
        if self.transport:
            with suppress(OSError):  # The peer may have closed before the loop has noticed.
                self.transport.write_eof()

    def close(self, *, broken: bool) -> None:
        """Close the connection; if it is `broken`, reset it, so that its client notices."""
        if self.transport is None:
            return
        if broken:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self.transport.close()


class _Near(_Pipe):
    """The end towards a program of this machine. It connects the far end as soon as it is connected itself."""

    def __init__(self, forward: Forward, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._forward = forward
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
        with namespaces.inside(self._forward.network):
            dialling = socket.socket()
        try:
            dialling.setblocking(False)
            dialling.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await loop.sock_connect(dialling, self._forward.address)
        except OSError:
            dialling.close()
            far.other = None
            self.other = None
            self.close(broken=True)
            return
        await loop.create_connection(lambda: far, sock=dialling)


async def _run(forwards: Sequence[Forward]) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    for forward in forwards:
        await loop.create_server(lambda forward=forward: _Near(forward, tasks), sock=forward.listener)  # type: ignore[misc]
    await asyncio.Event().wait()


def run(forwards: Sequence[Forward]) -> None:
    """Forward connections until the process is ended."""
    asyncio.run(_run(forwards))

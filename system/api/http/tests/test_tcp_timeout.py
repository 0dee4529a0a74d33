"""A client that stops reading its event stream is disconnected, delays no other client, and loses no event."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis

from system import wire
from system.api.http.metrics import SLOW_DROPPED
from system.api.http.tcp_timeout import set_user_timeout
from system.events.consumers.frontend_realtime import RealtimeFeed
from system.settings import Settings
from system.tests import streaming
from system.tests.servers import eventually
from system.tests.streaming import DEADLINE_S, Block, Bus, Past, open_stream, served, token

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")
PARTITION = "projects.0"
AT_ONCE = 200
EVENTS_MAX = 200_000
MEMORY_MAX_BYTES = 64 * 2**20
_TIME_WAIT = "06"


class Lazy:
    """A client with a small receive buffer, which reads the answer's head and no more."""

    def __init__(self, settings: Settings) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.setblocking(False)
        self._settings = settings

    async def __aenter__(self) -> Lazy:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, (self._settings.host, self._settings.port))
        bearer = f"authorization: Bearer {token(self._settings, client_id='lazy')}"
        request = f"GET {wire.EVENTS} HTTP/1.1\r\nhost: tests\r\n{bearer}\r\n\r\n"
        await loop.sock_sendall(self._socket, request.encode())
        assert (await loop.sock_recv(self._socket, 12)) == b"HTTP/1.1 200"

    def known_to_server(self) -> bool:
        """Whether the server's side of the connection is still open."""
        ours = f"0100007F:{self._socket.getsockname()[1]:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(line[2] == ours and line[3] != _TIME_WAIT for line in lines)

    async def rest(self) -> bytes:
        """Read again: what had arrived, up to the end of the connection."""
        taken = bytearray()
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    some = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
                except ConnectionResetError:
                    some = b""
                if not some:
                    return bytes(taken)
                taken += some


def last_id(stream: bytes) -> str:
    """The id of the last whole event in the chunks of an answer."""
    whole = stream[: stream.rindex(b"\n\n")]
    return whole[whole.rindex(b"\nid: ") + 5 :].split(b"\n")[0].decode()


@pytest.mark.parametrize(
    ("send_within_s", "take_within_s", "by_server"), [(2, DEADLINE_S, True), (DEADLINE_S, 2, False)]
)  # fmt: skip
def test_a_client_that_does_not_read_is_disconnected_and_delays_no_other(
    send_within_s: float, take_within_s: float, by_server: bool, database: Settings, nats_server: None,
    valkey_server: subprocess.Popen[bytes], port: Callable[[str], int],
) -> None:  # fmt: skip
    """The server gives up when it cannot send; the kernel closes the connection when sent data is not acknowledged."""
    settings = replace(database, port=port("http"))
    past = Past(settings)

    async def main() -> None:
        bus = Bus(past, RealtimeFeed, settings)
        async with served(settings, send_within_s=send_within_s) as services, Lazy(settings) as lazy:
            assert set_user_timeout(settings.port, take_within_s) == 1
            places = services.event_streams.limit
            dropped = SLOW_DROPPED._value.get()
            reader = await open_stream(settings)
            await lazy.begin()
            assert places.taken == 2
            memory = psutil.Process().memory_info().rss
            has = 0

            async def happen() -> None:
                nonlocal has
                past.happen(PARTITION, AT_ONCE)
                await bus.bring([PARTITION])
                assert positions(await reader.events(AT_ONCE)) == list(range(has + 1, has + AT_ONCE + 1))
                has += AT_ONCE

            while places.taken == 2:
                assert has < EVENTS_MAX
                await happen()
            for _ in range(20):
                await happen()
            assert places.taken == 1
            assert SLOW_DROPPED._value.get() - dropped == by_server
            assert psutil.Process().memory_info().rss - memory < MEMORY_MAX_BYTES
            if not by_server:
                await eventually(lambda: not lazy.known_to_server())
            # The client notices when it reads again, and reconnects.
            position = int(last_id(await lazy.rest()).removeprefix(f"{PARTITION}:"))
            again = await open_stream(settings, last_id=f"{PARTITION}:{position}")
            assert positions(await again.events(has - position)) == list(range(position + 1, has + 1))
            reader.cut()
            again.cut()
        await bus.close()

    host, _, number = settings.valkey.partition(":")
    with redis.Redis(host, int(number), password=settings.valkey_password) as valkey:
        valkey.flushall()
    try:
        streaming.run(main())
    finally:
        past.close()


def positions(events: list[Block]) -> list[int]:
    return [event.place[1] for event in events]

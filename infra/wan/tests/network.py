"""A running network between regions with nothing in it, for tests: its ports lead to nobody but the test's servers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra import demote, ports, site, topology
from infra.wan import process

_READY_WITHIN_S = 30.0
ECHO = """
import socket, sys, threading
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
def serve(link):
    with link:
        while data := link.recv(65536):
            link.sendall(data)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""


class Network:
    """`inside(region)` leads a command there; `port(name)` is that of a node (`valkey-iad.client`), on both sides."""

    def __init__(self, where: site.Site, pid: int) -> None:
        self.place = site.Place(where, topology.load())
        self.home = where.path
        self._pid = pid

    def inside(self, region: str) -> list[str]:
        return process.enter(self._pid, list(self.place.topology.regions).index(region))

    def port(self, name: str) -> int:
        return self.place.site.ports[name]

    def run(self, region: str, code: str, *arguments: object) -> str:
        """Python code inside a region, to its end."""
        command = [*self.inside(region), sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def echo(self, region: str, name: str) -> Iterator[tuple[str, int]]:
        """A server inside a region that sends back what it gets; its address there."""
        address = self.place.topology.zone_address(region)
        command = [*self.inside(region), sys.executable, "-c", ECHO, address, str(self.port(name))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                assert server.stdout.readline() == "listening\n"
                yield address, self.port(name)
            finally:
                server.kill()


@contextmanager
def running(home: Path) -> Iterator[Network]:
    """The network of a `core` system of which nothing else runs."""
    home.mkdir(mode=0o700)
    shipped = topology.load()
    shipped.keep(home)
    nodes = shipped.nodes("core")
    with contextlib.closing(ports.claim()) as block:
        where = site.create(
            home, run_id=home.name, size="core", ports=block.assign(f"{node.name}.client" for node in nodes),
            demotion=demote.Demotion(), clients={}, plant={}, projects=300,
            options=site.Options(), apart=True,
        )  # fmt: skip
        with (home / "log").open("wb") as log:
            started = subprocess.Popen(process.command(home), stdout=log, stderr=log, env=dict(os.environ))
        try:
            deadline = time.monotonic() + _READY_WITHIN_S
            while not process.ready(home):
                assert started.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline, "not ready"
                time.sleep(0.05)
            yield Network(where, started.pid)
        finally:
            started.kill()
            started.wait(10)

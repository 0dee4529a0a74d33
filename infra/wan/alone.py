"""A running network between regions with nothing in it but what its user starts: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from infra.machine import drop_privileges, ports
from infra.site import site
from infra.topology import model as topology
from infra.topology.options import DEFAULTS
from infra.wan import process

_READY_WITHIN_S = 30.0
_ECHO = """
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
        self.pid = pid

    def inside(self, region: str) -> list[str]:
        return process.enter(self.pid, list(self.place.topology.regions).index(region))

    def port(self, name: str) -> int:
        return self.place.site.ports[name]

    def run(self, region: str, code: str, *arguments: object) -> str:
        """Python code inside a region, to its end."""
        command = [*self.inside(region), sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"expected the program in {region} to end well, found exit code {done.returncode}: "
                               f"{done.stderr}")  # fmt: skip
        return done.stdout.strip()

    def echo(self, region: str, name: str) -> AbstractContextManager[tuple[str, int]]:
        """A server inside a region that sends back what it gets; its address there."""
        return self.serve(region, name, _ECHO)

    @contextmanager
    def serve(self, region: str, name: str, code: str) -> Iterator[tuple[str, int]]:
        """Python code inside a region that listens where its two arguments say, and then says "listening"."""
        address = self.place.topology.zone_address(region)
        command = [*self.inside(region), sys.executable, "-c", code, address, str(self.port(name))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                if server.stdout is None or server.stdout.readline() != "listening\n":
                    raise RuntimeError(f"expected a server in {region} to listen, found that it ended")
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
            unprivileged=drop_privileges.Unprivileged(), clients={}, plant={}, projects=300,
            options=DEFAULTS, apart=True,
        )  # fmt: skip
        with (home / "log").open("wb") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "infra.wan", str(home)], stdout=log, stderr=log, env=dict(os.environ)
            )
        try:
            deadline = time.monotonic() + _READY_WITHIN_S
            while not process.ready(home):
                if started.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the network did not start: {(home / 'log').read_text()}")
                time.sleep(0.05)
            yield Network(where, started.pid)
        finally:
            started.kill()
            started.wait(10)

"""The network between the regions without a system in it, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from infra.machine import drop_privileges, ports
from infra.machine.waiting import until
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
    """A running network; `pid` is its process."""

    def __init__(self, where: site.Site, pid: int) -> None:
        self.place = site.Place(where, topology.load())
        self.home = where.path
        self.pid = pid

    def inside(self, region: str) -> list[str]:
        """What to put before a command so that it runs inside a region."""
        return process.enter(self.pid, list(self.place.topology.regions).index(region))

    def port(self, name: str) -> int:
        """A node's port (`valkey-iad.client`): the same inside its region and on this machine."""
        return self.place.site.ports[name]

    def run(self, region: str, code: str, *arguments: object) -> str:
        """Run Python code inside a region; what it printed. RuntimeError if it fails."""
        command = [*self.inside(region), sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"expected the program in {region} to end well, found exit code {done.returncode}: "
                               f"{done.stderr}")  # fmt: skip
        return done.stdout.strip()

    def echo(self, region: str, name: str) -> AbstractContextManager[tuple[str, int]]:
        """Run a server inside a region that sends back what it receives; its address there."""
        return self.serve(region, name, _ECHO)

    @contextmanager
    def serve(self, region: str, name: str, code: str) -> Iterator[tuple[str, int]]:
        """Run Python code inside a region that listens on the address and port in its two arguments, and then prints
        "listening"; that address. RuntimeError if it ends."""
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
    """The network of a system of size `core`, without its parts. RuntimeError if it does not start."""
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

            def ready() -> bool | None:
                """False if the network has ended."""
                return process.ready(home) or (None if started.poll() is None else False)

            if not until(ready, _READY_WITHIN_S, every_s=0.05):
                raise RuntimeError(f"the network did not start: {(home / 'log').read_text()}")
            yield Network(where, started.pid)
        finally:
            started.kill()
            started.wait(10)

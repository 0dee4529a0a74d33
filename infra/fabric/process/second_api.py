"""One more process of a region's API, started beside the first while the system runs, and ended by whoever started it.

It shares the region's ports with the first: the kernel gives each new connection to one of those that listen. The
system's own parts stay as they are; should its owner die, it ends with the system, whose mark it carries.

To be used from inside the region where regions are apart: it is started as a child, in the same namespace.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from infra.fabric.process.system import System
from infra.machine import processes
from infra.parts.base import http_get
from infra.parts.covenant import Api, region_apis
from infra.site import certificates
from infra.topology.model import Node
from system import wire

_END_WITHIN_S = 10.0
_ZONES = "abc"
_COUNTED = "covenant_http_requests_total{"


class SecondApi:
    """`start` once; `stop` in any case."""

    def __init__(self, home: Path, region: str) -> None:
        """Lay it out. FileNotFoundError if the home holds no system, KeyError if the region has no API or no zone for
        another."""
        system = System.attach(home)
        self._first = region_apis(system.place)[region]
        node = _unused(system, region)
        self._addresses = {
            "first": f"{system.place.address(self._first)}:{system.site.port(self._first, 'http')}",
            "second": f"{system.place.address(node)}:{_free_port(system.place.address(node))}",
        }
        # Only its own port is another one than the first's.
        system.site.ports[f"{node.name}.http"] = int(self._addresses["second"].rpartition(":")[2])
        self._system, self._part = system, Api(system.place, node)
        self._process: subprocess.Popen[bytes] | None = None
        self._part.folder.mkdir(mode=0o700, exist_ok=True)
        theirs, mine = certificates.of(system.site, self._first), certificates.of(system.site, node)
        for source, copy in ((theirs.cert, mine.cert), (theirs.key, mine.key)):
            if source.exists():
                # It is asked for by the same names.
                shutil.copy(source, copy)

    def start(self) -> None:
        self._part.before_start()
        with (self._part.folder / "log").open("ab") as log:
            self._process = processes.spawn(
                self._part.command(), environment=self._system.environment(self._part), folder=self._part.folder,
                log=log,
            )  # fmt: skip

    def ready(self) -> bool:
        """Whether it says itself that it is ready to serve."""
        return http_get(f"http://{self._addresses['second']}{wire.READY}")[0] == 200

    def ended(self) -> str | None:
        """The last of what it said, if it ended by itself."""
        if self._process is None or self._process.poll() is None:
            return None
        lines = (self._part.folder / "log").read_text("utf-8", "replace").splitlines()
        return f"exit code {self._process.returncode}: {lines[-1] if lines else 'it said nothing'}"

    def answered(self) -> tuple[int, int]:
        """Reads of projects and regions that the first and the second process have answered so far; 0 for one that does
        not tell."""
        first, second = (self._counted(self._addresses[name]) for name in ("first", "second"))
        return first, second

    def stop(self) -> None:
        """End it, by force if need be."""
        if self._process is not None:
            processes.interrupt(self._process, _END_WITHIN_S)

    @staticmethod
    def _counted(address: str) -> int:
        status, body = http_get(f"http://{address}{wire.METRICS}")
        return requests_in(body.decode()) if status == 200 else 0


def _unused(system: System, region: str) -> Node:
    """A node of a zone in which the region has no API yet. KeyError if there is none."""
    nodes = [Node(Api.kind, f"{region}-{zone}") for zone in _ZONES]
    free = [node for node in nodes if node.name not in system.parts]
    if not free:
        raise KeyError(f"a zone of {region} without an API")
    return free[0]


def requests_in(metrics: str) -> int:
    """How many reads of what visitors ask for an API's metrics count."""
    asked = tuple(f'route="{path}"' for path in (wire.PROJECTS, wire.REGIONS))
    return sum(
        round(float(line.rpartition(" ")[2]))
        for line in metrics.splitlines()
        if line.startswith(_COUNTED) and any(route in line for route in asked)
    )


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])

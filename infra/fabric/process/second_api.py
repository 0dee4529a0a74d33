"""One more process of a region's API, beside the first: `python -m infra.fabric.process.second_api HOME REGION`.

It shares the region's ports with the first: the kernel gives each new connection to one of those that listen. The
system's own parts stay as they are. Where regions are apart the command is to be run inside the region.

It says where both answer, as one line of JSON (`infra.target.SecondApi`), starts the API when it reads a line, and ends
it at the end of its standard input: so the API never outlives the process that asked for it. Exit code 1, with a line
on stderr, if the region has no place for it or the API ended by itself.
"""

from __future__ import annotations

import select
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from infra.fabric.process.parts import PartProcesses
from infra.machine import processes
from infra.machine.ports import free_port
from infra.parts.covenant import Api, region_apis
from infra.site import certificates
from infra.target import SecondApi
from infra.topology.model import Node

_END_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.05
_ZONES = "abc"


def main(home: Path, region: str) -> int:
    """The exit code."""
    try:
        system = PartProcesses.attach(home)
        part, laid = _lay_out(system, region)
    except (FileNotFoundError, KeyError) as error:
        print(f"expected a system with an API in {region} and a zone for another, found none: {error!r}",
              file=sys.stderr)  # fmt: skip
        return 1
    print(msgspec.json.encode(laid).decode(), flush=True)
    if not sys.stdin.readline():
        return 0
    part.before_start()
    log = part.folder / "log"
    with log.open("ab") as file:
        process = processes.spawn(part.command(), environment=system.environment(part), folder=part.folder, log=file)
    try:
        return _watch(process, log)
    finally:
        processes.end(process, _END_WITHIN_S)


def _watch(process: subprocess.Popen[bytes], log: Path) -> int:
    """Until the end of standard input, or of the API."""
    while not select.select([sys.stdin], [], [], _LOOK_EVERY_S)[0]:
        if (code := process.poll()) is not None:
            lines = log.read_text("utf-8", "replace").splitlines()
            print(f"exit code {code}: {lines[-1] if lines else 'it said nothing'}", file=sys.stderr)
            return 1
    return 0


def _lay_out(system: PartProcesses, region: str) -> tuple[Api, SecondApi]:
    """KeyError if the region has no API, or no zone for another."""
    first = region_apis(system.place)[region]
    node = _unused(system, region)
    address = system.place.address(node)
    # Only its own port is another one than the first's.
    system.site.ports[f"{node.name}.http"] = free_port(address)
    part = Api(system.place, node)
    part.folder.mkdir(mode=0o700, exist_ok=True)
    theirs, mine = certificates.of(system.site, first), certificates.of(system.site, node)
    for source, copy in ((theirs.cert, mine.cert), (theirs.key, mine.key)):
        if source.exists():
            # It is asked for by the same names.
            shutil.copy(source, copy)
    return part, SecondApi(
        first=f"http://{system.place.address(first)}:{system.site.port(first, 'http')}",
        second=f"http://{address}:{system.site.port(node, 'http')}",
    )


def _unused(system: PartProcesses, region: str) -> Node:
    """A node of a zone in which the region has no API yet. KeyError if there is none."""
    nodes = [Node(Api.kind, f"{region}-{zone}") for zone in _ZONES]
    free = [node for node in nodes if node.name not in system.parts]
    if not free:
        raise KeyError(f"a zone of {region} without an API")
    return free[0]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))

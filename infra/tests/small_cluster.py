"""A few parts of a system as real servers on loopback, for tests of their clients."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.fabric.process.system import System
from infra.machine import drop_privileges, ports
from infra.machine.waiting import until
from infra.parts import PARTS, postgres
from infra.site import certificates, site
from infra.topology import model as topology
from infra.topology.model import Node
from infra.topology.options import Options

_READY_WITHIN_S = 90.0


@contextmanager
def running(home: Path, names: list[str], options: Options) -> Iterator[System]:
    """A system of the parts in `names` (`postgres-iad-a`), started in this order. The first member of PostgreSQL is the
    primary and has its roles before the others start."""
    system = lay_out(home, names, options)
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        if options.tls == "on":
            certificates.issue(system.place)
        first = next(iter(system.place.nodes("postgres")), None)
        for part in system.parts.values():
            part.folder.mkdir(exist_ok=True)
            part.prepare()
            system.start_part(part.name)
            if part.kind == "etcd" or part.node == first:
                system.wait_ready([part], deadline)
            if part.node == first:
                assert until(lambda: postgres.primary(system.place), deadline - time.monotonic()), "no primary"
                postgres.create_roles(system.place)
        system.wait_ready(system.parts.values(), deadline)
        if system.place.nodes("postgres"):
            redundant = until(
                lambda: postgres.missing_redundancy(system.place) is None or None, deadline - time.monotonic()
            )
            assert redundant, postgres.missing_redundancy(system.place)
        yield system
    finally:
        system.stop()


def lay_out(home: Path, names: list[str], options: Options) -> System:
    """The same system, with nothing started."""
    shipped = topology.load()
    nodes = tuple(_node(name) for name in names)
    where = dataclasses.replace(shipped, sizes={**shipped.sizes, ("tiny", options.bus): nodes})
    home.mkdir(mode=0o700)
    block = ports.claim()
    try:
        assigned = block.assign(f"{node.name}.{port}" for node in nodes for port in PARTS[node.kind].port_names)
    finally:
        block.close()
    place = site.create(
        home, run_id=home.name, size="tiny", ports=assigned, unprivileged=drop_privileges.find(home), clients={},
        plant={}, projects=300, options=options, apart=False,
    )  # fmt: skip
    return System(place, where)


def _node(name: str) -> Node:
    kind = next(kind for kind in PARTS if name.startswith(f"{kind}-"))
    return Node(kind, name.removeprefix(f"{kind}-"))

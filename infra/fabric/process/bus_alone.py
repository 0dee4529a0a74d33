"""The bus of a system and nothing else of it, with chosen settings: for benchmarks that compare what settings cost.

The three nodes, their users and their certificates are those of a whole system; its databases and APIs would only take
their share of the cores from what is measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.fabric import description
from infra.fabric.process.system import System
from infra.machine import drop_privileges, ports
from infra.parts import PARTS
from infra.parts.covenant import STREAM_REPLICAS
from infra.site import bus_layout, bus_users, certificates, security, site
from infra.target import Login, Target
from infra.topology import model as topology
from infra.topology.options import Options

_READY_WITHIN_S = 60.0


@contextmanager
def running(home: Path, options: Options) -> Iterator[tuple[System, Target]]:
    """A bus on loopback in the new folder `home`, and how it is reached; it ends with the context. Besides what
    `System.start_part` raises: infra.machine.ports.NoPorts, infra.machine.drop_privileges.CannotDropPrivileges,
    OSError."""
    shipped = topology.load()
    nodes = tuple(node for node in shipped.nodes("core", options.bus) if node.kind == bus_layout.BUS)
    where = dataclasses.replace(shipped, sizes={**shipped.sizes, ("bus", options.bus): nodes})
    home.mkdir(mode=0o700)
    with contextlib.closing(ports.claim()) as block:
        names = [f"{node.name}.{port}" for node in nodes for port in PARTS[node.kind].port_names]
        made = site.create(
            home, run_id=home.name, size="bus", ports=block.assign(names), unprivileged=drop_privileges.find(home),
            clients={}, plant={}, projects=0, options=options, apart=False,
        )  # fmt: skip
        system = System(made, where)
        try:
            if options.tls == "on":
                certificates.issue(system.place)
            for part in system.parts.values():
                part.folder.mkdir(exist_ok=True)
                part.prepare()
                system.start_part(part.name)
            system.wait_ready(system.parts.values(), time.monotonic() + _READY_WITHIN_S)
            yield system, _target(system.place)
        finally:
            system.stop()


def _target(place: site.Place) -> Target:
    """A target of which only the bus is there."""
    options, secret = place.site.options, place.site.secrets
    return Target(
        run_id=place.site.run_id,
        regions=[place.nodes(bus_layout.BUS)[0].region],
        api={},
        web={},
        clients={},
        nats=bus_layout.urls(place, reach=place.outside),
        nats_load=Login(user=bus_users.LOAD, password=secret[bus_users.secret_name(bus_users.LOAD)]),
        nats_observer=Login(user=bus_users.OBSERVER, password=secret[bus_users.secret_name(bus_users.OBSERVER)]),
        nats_crowd=Login(user=bus_users.CROWD, password=secret[bus_users.secret_name(bus_users.CROWD)]),
        nats_monitor=bus_layout.monitors(place, place.outside),
        tls=description.tls(place),
        observer_dsn="",
        replica_dsn={},
        valkey={},
        stream_replicas=STREAM_REPLICAS,
        durability=f"NATS R{STREAM_REPLICAS}, file, sync_interval {options.sync_interval}",
        security=security.in_words(options),
    )

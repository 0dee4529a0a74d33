"""One system's place on this machine: its home folder, ports, secrets and identity.

A home is a folder under the checkout's `.covenant/`; everything that the system writes lies in it. The site
is written there, so that any process (a chaos action, `./covenant down`, the clean-up after a crash) can
take the system up where its starter left it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from infra.machine.drop_privileges import Unprivileged
from infra.site import bus_users
from infra.topology.model import Node, Topology
from infra.topology.options import Options

_LOOPBACK = "127.0.0.1"
_SECRETS = (
    "postgres", "replication", "owner", "app", "observer", "load", "nats_store", "valkey", "patroni", "token_key",
    "archiver", "s3_admin", "s3_archiver",
    *bus_users.secret_names(),
)  # fmt: skip


class Site(msgspec.Struct, kw_only=True):
    run_id: str
    home: str
    size: str
    ports: dict[str, int]
    """`<node name>.<port name>` -> port."""
    secrets: dict[str, str]
    clients: dict[str, str]
    """Machine client of the system -> its secret."""
    s3_access_key: str
    s3_secret_key: str
    unprivileged: Unprivileged
    """How a part that refuses to run as root is started."""
    plant: dict[str, dict[str, str]] = {}
    """Kind of part -> further environment, with which a planted bug is patched in at its start."""
    projects: int = 300
    """How many projects its database starts with."""
    options: Options = Options()
    apart: bool = False
    """Whether the regions are network namespaces with distance between them; else everything is on loopback."""

    @property
    def path(self) -> Path:
        return Path(self.home)

    @property
    def users_file(self) -> Path:
        """The machine clients that its database starts with."""
        return self.path / "users.json"

    def hidden(self) -> list[str]:
        """Everything that may stand in no log and no report."""
        return [*self.secrets.values(), *self.clients.values(), self.s3_access_key, self.s3_secret_key]

    def port(self, node: Node, name: str) -> int:
        return self.ports[f"{node.name}.{name}"]

    def ports_of(self, node: Node) -> list[int]:
        return [port for name, port in self.ports.items() if name.rpartition(".")[0] == node.name]

    def folder(self, node: Node) -> Path:
        """Where a part keeps configuration, data and log."""
        return self.path / node.name

    def write(self) -> None:
        """Write the site, readable by its owner alone: it holds every secret."""
        place = self.path / "site.json"
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self))


def read(home: Path) -> Site:
    """The site of a home. FileNotFoundError or msgspec.MsgspecError if there is none."""
    return msgspec.json.decode((home / "site.json").read_bytes(), type=Site)


def create(
    home: Path,
    *,
    run_id: str,
    size: str,
    ports: dict[str, int],
    unprivileged: Unprivileged,
    clients: Mapping[str, str],
    plant: Mapping[str, Mapping[str, str]],
    projects: int,
    options: Options,
    apart: bool,
) -> Site:
    """A new site with secrets of its own, written to `home`."""
    site = Site(
        run_id=run_id,
        home=str(home),
        size=size,
        ports=ports,
        secrets={name: secrets.token_urlsafe(32) for name in _SECRETS},
        clients=dict(clients),
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_urlsafe(30),
        unprivileged=unprivileged,
        plant={kind: dict(environment) for kind, environment in plant.items()},
        projects=projects,
        options=options,
        apart=apart,
    )
    site.write()
    return site


Reach = Callable[[Node, str], str]
"""(node, port's name) -> `address:port`, as some programs reach it: `Place.outside` or `Place.endpoint`."""


class Place(msgspec.Struct, frozen=True):
    """A site and the topology that it was laid out by: what a part needs to know of its surroundings."""

    site: Site
    topology: Topology

    def all_nodes(self) -> tuple[Node, ...]:
        return self.topology.nodes(self.site.size, self.site.options.bus)

    def nodes(self, kind: str) -> list[Node]:
        return [node for node in self.all_nodes() if node.kind == kind]

    def address(self, node: Node) -> str:
        """The IP address that a node listens on."""
        return self.topology.address(node) if self.site.apart else _LOOPBACK

    def endpoint(self, node: Node, port: str) -> str:
        """`address:port` of a node, as the system's parts and clients in a region reach it."""
        return f"{self.address(node)}:{self.site.port(node, port)}"

    def outside(self, node: Node, port: str) -> str:
        """`address:port` of a node, as this machine's programs reach it: as near as from within its region."""
        return f"{_LOOPBACK}:{self.site.port(node, port)}"

    def endpoints(self, kind: str, port: str, near: str | None = None) -> list[str]:
        """Of every node of a kind as parts reach them, the nearest to the region `near` first."""
        nodes = self.nodes(kind)
        if near:
            nodes = sorted(nodes, key=lambda node: self.topology.distance_ms(near, node.region))
        return [self.endpoint(node, port) for node in nodes]

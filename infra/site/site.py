"""What one system has on this machine (`Site`), and where each of its nodes is reached (`Place`).

A site is a home folder with ports, secrets and options; it knows nothing of regions. A place is a site together with
its topology. (The `site` of a node in the topology is neither: it is the region or zone that the node stands in.)

A home is a folder under the checkout's `.covenant/`; everything that the system writes lies in it. The site is written
there, too, so that any process (a chaos action, `./covenant down`, the clean-up after a crash) can take over the
system.
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
    """One system's identity, home, ports, secrets and options: the content of its `site.json`."""

    run_id: str
    home: str
    """The path of the home."""
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
    """Kind of part -> environment variables that patch a planted bug into it when it starts."""
    projects: int = 300
    """How many projects its database starts with."""
    options: Options = Options()
    apart: bool = False
    """Whether each region is a network namespace, with distance between them; if not, everything is on loopback."""

    @property
    def path(self) -> Path:
        return Path(self.home)

    @property
    def users_file(self) -> Path:
        """The machine clients that its database starts with."""
        return self.path / "users.json"

    def hidden(self) -> list[str]:
        """Every secret; none may appear in a log or a report."""
        return [*self.secrets.values(), *self.clients.values(), self.s3_access_key, self.s3_secret_key]

    def port(self, node: Node, name: str) -> int:
        """A node's port by its name. KeyError."""
        return self.ports[f"{node.name}.{name}"]

    def ports_of(self, node: Node) -> list[int]:
        """All ports of a node."""
        return [port for name, port in self.ports.items() if name.rpartition(".")[0] == node.name]

    def folder(self, node: Node) -> Path:
        """The folder in which a node keeps its configuration, data and log."""
        return self.path / node.name

    def write(self) -> None:
        """Write the site to its home, readable by its owner alone, since it holds every secret."""
        path = self.path / "site.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self))


def read(home: Path) -> Site:
    """The site of a home. FileNotFoundError if there is none, msgspec.MsgspecError if it is damaged."""
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
    """A new site with new secrets, written to `home`. The arguments are fields of Site."""
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
"""(node, name of a port) -> `address:port` at which programs reach it: `Place.endpoint` from inside the regions,
`Place.outside` from this machine."""


class Place(msgspec.Struct, frozen=True):
    """A site with the topology that it was laid out by: all nodes of a system, and where each is reached."""

    site: Site
    topology: Topology

    def all_nodes(self) -> tuple[Node, ...]:
        """Every node, standbys too, in the order of the topology's file."""
        return self.topology.nodes(self.site.size, self.site.options.bus)

    def nodes(self, kind: str) -> list[Node]:
        """The nodes of a kind, in the order of the topology's file."""
        return [node for node in self.all_nodes() if node.kind == kind]

    def address(self, node: Node) -> str:
        """The IP address that a node listens on."""
        return self.topology.address(node) if self.site.apart else _LOOPBACK

    def endpoint(self, node: Node, port: str) -> str:
        """`address:port` of a node, as other nodes and clients inside a region reach it."""
        return f"{self.address(node)}:{self.site.port(node, port)}"

    def outside(self, node: Node, port: str) -> str:
        """`address:port` of a node, as programs of this machine reach it: without distance, as from inside its
        region."""
        return f"{_LOOPBACK}:{self.site.port(node, port)}"

    def endpoints(self, kind: str, port: str, near: str | None = None) -> list[str]:
        """The `endpoint` of every node of a kind; with `near`, the nearest to that region first."""
        nodes = self.nodes(kind)
        if near:
            nodes = sorted(nodes, key=lambda node: self.topology.distance_ms(near, node.region))
        return [self.endpoint(node, port) for node in nodes]

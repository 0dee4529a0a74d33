"""The system's own processes: the API of a region, the relay, the consumers. They get all settings through the
environment (`system.settings`), and make a file when they are ready."""

from __future__ import annotations

import sys
from typing import ClassVar

from infra.parts import s3
from infra.parts.base import Part, http_get
from infra.parts.postgres import DATABASE, Postgres
from infra.site import bus_layout, bus_users, certificates
from infra.site.certificates import Credentials
from infra.site.site import Place, Site
from infra.topology.model import Node
from system import wire
from system.settings import variable
from system.wire import observer

STREAM_REPLICAS = 3


class _Process(Part):
    module: ClassVar[str]
    package = "covenant-harness"

    def command(self) -> list[str]:
        return [sys.executable, "-m", self.module]

    def environment(self) -> dict[str, str]:
        return {
            **settings(self.place, self.node.region, "app", self.bus_user),
            **own_certificate(self.site, certificates.of(self.site, self.node)),
            **self.site.plant.get(self.kind, {}),
            variable("host"): self.address,
            variable("ready_file"): str(self.folder / "ready"),
        }

    @property
    def bus_user(self) -> str:
        """The user with which it connects to the bus."""
        return bus_users.consumer_user(self.kind, self.node.region)

    def before_start(self) -> None:
        (self.folder / "ready").unlink(missing_ok=True)

    def waiting_for(self) -> str | None:
        return None if (self.folder / "ready").exists() else "its process to say that it is ready"


class Api(_Process):
    kind = "api"
    module = "system.api"
    port_names: ClassVar[tuple[str, ...]] = ("http", "region", "tls")

    def environment(self) -> dict[str, str]:
        first = region_apis(self.place)[self.node.region]
        return {
            **super().environment(),
            variable("port"): str(self.port("http")),
            # All addresses of the region: the region's APIs share a port, and a client may use the address of any.
            variable("region_host"): "0.0.0.0" if self.site.apart else self.address,
            variable("region_port"): str(self.site.port(first, "region")),
            variable("region_tls_port"): str(self.site.port(first, "tls") if self.site.options.tls == "on" else 0),
            variable("token_keys"): f"{self.site.run_id}:{self.site.secrets['token_key']}",
        }

    def waiting_for(self) -> str | None:
        status, body = http_get(f"http://{self.place.outside(self.node, 'http')}{wire.READY}", timeout_s=3)
        return None if status == 200 else f"{wire.READY} ({status}: {body.decode(errors='replace')[:200]})"


class _Worker(_Process):
    """The relay or a consumer, which listens for nothing but requests for its metrics."""

    port_names: ClassVar[tuple[str, ...]] = ("metrics",)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), variable("metrics_port"): str(self.port("metrics"))}


class Relay(_Worker):
    kind = "relay"
    module = "system.events.relay"


class AuditLogger(_Worker):
    """The one consumer that needs more than its module: it exports its trail to S3."""

    kind = "audit-logger"
    module = observer.consumer(kind).module

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **s3_settings(self.place)}


def _part_of(consumer: observer.Consumer) -> type[_Worker]:
    """The part that runs a consumer; most consumers need nothing but their module."""
    if consumer.name == AuditLogger.kind:
        return AuditLogger
    made: type[_Worker] = type(consumer.name, (_Worker,), {"kind": consumer.name, "module": consumer.module})
    return made


COVENANT: tuple[type[_Process], ...] = (Api, Relay, *map(_part_of, observer.CONSUMERS))


def s3_settings(place: Place) -> dict[str, str]:
    """The environment variables with which a process exports to S3."""
    values = {
        "s3_endpoint": f"{s3.scheme(place)}://{place.endpoints(s3.S3.kind, 's3')[0]}",
        **({"s3_ca": ca} if (ca := s3.authority(place)) else {}),
        "s3_bucket": s3.BUCKET,
        "s3_access_key": place.site.s3_access_key,
        "s3_secret_key": place.site.s3_secret_key,
    }
    return {variable(name): value for name, value in values.items()}


def tool_settings(
    place: Place, region: str, role: str = "app", bus_user: str = bus_users.STREAMS_ADMIN
) -> dict[str, str]:
    """The environment of a command of the system that runs once, and is no node, in a region."""
    mine = certificates.client(place.site, certificates.TOOLS)
    return {**settings(place, region, role, bus_user), **own_certificate(place.site, mine)}


def own_certificate(site: Site, mine: Credentials) -> dict[str, str]:
    """The environment variables that name a process's certificate; none without TLS."""
    if site.options.tls == "off":
        return {}
    return {variable("tls_cert"): str(mine.cert), variable("tls_key"): str(mine.key)}


def settings(place: Place, region: str, role: str, bus_user: str) -> dict[str, str]:
    """The environment of a process of the system in a region. `role` is its database role (`app`, `owner`), `bus_user`
    its user of the bus."""
    cache = next(node for node in place.nodes("valkey") if node.region == region)
    values = {
        "region": region,
        "database_hosts": ",".join(place.endpoints(Postgres.kind, "client")),
        "replica": place.endpoint(replica(place, region), "client"),
        "database": DATABASE,
        "database_user": f"covenant_{role}",
        "database_password": place.site.secrets[role],
        "nats_urls": ",".join(bus_layout.urls(place, region)),
        "nats_user": bus_user,
        "nats_password": place.site.secrets[bus_users.secret_name(bus_user)],
        "valkey": place.endpoint(cache, "client"),
        "valkey_password": place.site.secrets["valkey"],
        "stream_replicas": str(min(STREAM_REPLICAS, len(bus_layout.bus(place)))),
        "projects": str(place.site.projects),
        "users_file": str(place.site.users_file),
    }
    if place.site.options.tls == "on":
        values["database_ca"] = values["nats_ca"] = str(certificates.client(place.site).ca)
    return {variable(name): value for name, value in values.items()}


def region_apis(place: Place) -> dict[str, Node]:
    """Region -> its first API; all APIs of the region share the ports `region` and `tls` of this one."""
    return {node.region: node for node in reversed(place.nodes(Api.kind))}


def replica(place: Place, region: str) -> Node:
    """The PostgreSQL member that a region reads from: in the primary's region the standby. StopIteration if it has
    none."""
    return next(node for node in reversed(place.nodes(Postgres.kind)) if node.region == region)

"""Every environment variable that the system reads, typed, with its default. Secrets come only from here
or from the files that these name, and are never logged: `repr` leaves them out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


class SettingsError(Exception):
    """A variable that is missing or malformed; names it, and what was expected."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one process of the system needs to know of its surroundings."""

    region: str
    """COVENANT_REGION: ams, iad, syd, sin, sfo or jnb."""
    database_hosts: str
    """COVENANT_DATABASE_HOSTS: every PostgreSQL member, `host:port,host:port`; the primary is among them."""
    replica: str
    """COVENANT_REPLICA: the region's own member, `host:port`; reads go there."""
    database: str = "covenant"
    """COVENANT_DATABASE."""
    database_user: str
    """COVENANT_DATABASE_USER."""
    database_password: str = field(repr=False)
    """COVENANT_DATABASE_PASSWORD."""
    nats_urls: str
    """COVENANT_NATS_URLS: `nats://host:port,...`, the region's nearest first."""
    nats_user: str
    """COVENANT_NATS_USER."""
    nats_password: str = field(repr=False)
    """COVENANT_NATS_PASSWORD."""
    valkey: str
    """COVENANT_VALKEY: the region's cache, `host:port`."""
    valkey_password: str = field(repr=False)
    """COVENANT_VALKEY_PASSWORD."""
    host: str = "127.0.0.1"
    """COVENANT_HOST: what the API listens on."""
    port: int = 8000
    """COVENANT_PORT."""
    stream_replicas: int = 3
    """COVENANT_STREAM_REPLICAS: R of every stream."""
    ready_file: str | None = None
    """COVENANT_READY_FILE: made when the process is ready to do its work, so that a supervisor can wait."""


_REQUIRED = (
    "region", "database_hosts", "replica", "database_user", "database_password", "nats_urls", "nats_user",
    "nats_password", "valkey", "valkey_password",
)  # fmt: skip
_OPTIONAL = {"database": str, "host": str, "port": int, "stream_replicas": int, "ready_file": str}


def variable(name: str) -> str:
    """The environment variable of a setting: `variable("region") == "COVENANT_REGION"`."""
    return f"COVENANT_{name.upper()}"


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. SettingsError names every variable that is missing or malformed."""
    values: dict[str, object] = {}
    problems: list[str] = []
    for name in _REQUIRED:
        value = environment.get(variable(name))
        if not value:
            problems.append(f"{variable(name)} is not set")
        values[name] = value
    for name, kind in _OPTIONAL.items():
        value = environment.get(variable(name))
        if value is None:
            continue
        try:
            values[name] = kind(value)
        except ValueError:
            problems.append(f"{variable(name)}: expected {kind.__name__}, found {value!r}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(**values)  # type: ignore[arg-type]

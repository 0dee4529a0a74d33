"""Every environment variable that the system reads, with its type and default.

A secret comes from its variable, or from the file that `COVENANT_X_FILE` names in place of `COVENANT_X`. Secrets are
never logged: `repr` leaves them out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsError(Exception):
    """A variable is missing or malformed. The message names it and says what was expected."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration of one process."""

    region: str
    """COVENANT_REGION: ams, iad, syd, sin, sfo or jnb."""
    database_hosts: str
    """COVENANT_DATABASE_HOSTS: every PostgreSQL member, `host:port,host:port`; one of them is the primary."""
    replica: str
    """COVENANT_REPLICA: the region's own member, `host:port`; reads go there."""
    database: str = "covenant"
    """COVENANT_DATABASE."""
    database_user: str
    """COVENANT_DATABASE_USER."""
    database_password: str = field(repr=False)
    """COVENANT_DATABASE_PASSWORD."""
    database_ca: str | None = None
    """COVENANT_DATABASE_CA: the members' certificate authority, a PEM file; without it connections are not
    encrypted."""
    nats_urls: str
    """COVENANT_NATS_URLS: `nats://host:port,...`, the region's nearest first."""
    nats_user: str
    """COVENANT_NATS_USER."""
    nats_password: str = field(repr=False)
    """COVENANT_NATS_PASSWORD."""
    nats_ca: str | None = None
    """COVENANT_NATS_CA: the bus's certificate authority, a PEM file; without it connections are not encrypted."""
    tls_cert: str | None = None
    """COVENANT_TLS_CERT: this process's certificate, a PEM file: client certificate for the bus, server certificate
    for the API."""
    tls_key: str | None = None
    """COVENANT_TLS_KEY: the certificate's key, a PEM file."""
    valkey: str
    """COVENANT_VALKEY: the region's cache, `host:port`."""
    valkey_password: str = field(repr=False)
    """COVENANT_VALKEY_PASSWORD."""
    host: str = "127.0.0.1"
    """COVENANT_HOST: the address that the API listens on."""
    port: int = 8000
    """COVENANT_PORT: the port of this API process alone, plain HTTP."""
    region_host: str = "127.0.0.1"
    """COVENANT_REGION_HOST: the address that all APIs of the region share; the kernel spreads connections over them."""
    region_port: int = 0
    """COVENANT_REGION_PORT: the shared port, plain HTTP; 0: none."""
    region_tls_port: int = 0
    """COVENANT_REGION_TLS_PORT: the shared port with TLS 1.3 and COVENANT_TLS_CERT; 0: none."""
    bus_domain: str = ""
    """COVENANT_BUS_DOMAIN: the JetStream domain of the bus that the mirrors follow."""
    mirrors: str = ""
    """COVENANT_MIRRORS: `region=url,url;region=url`, where each region keeps its mirror."""
    stream_replicas: int = 3
    """COVENANT_STREAM_REPLICAS: R of every stream."""
    duplicate_window_s: float = 600.0
    """COVENANT_DUPLICATE_WINDOW_S: for how long a stream remembers message ids and drops duplicates."""
    ready_file: str | None = None
    """COVENANT_READY_FILE: created when the process is ready, so that a supervisor can wait for it."""
    metrics_port: int = 0
    """COVENANT_METRICS_PORT: the port of relay and consumers for Prometheus, on `host`; 0: none."""
    token_keys: str = field(default="", repr=False)
    """COVENANT_TOKEN_KEYS: `id:secret,id:secret`, each secret 32 characters or more. The API signs tokens with the
    first key and accepts all of them, so a key is rotated by putting a new one in front."""
    projects: int = 300
    """COVENANT_PROJECTS: how many projects a new database starts with, 300 to 58,500."""
    users_file: str | None = None
    """COVENANT_USERS_FILE: JSON, a list of `wire.NewUser`: the machine clients that a new database starts with."""
    s3_endpoint: str | None = None
    """COVENANT_S3_ENDPOINT: `https://host:port`; without it nothing is exported."""
    s3_ca: str | None = None
    """COVENANT_S3_CA: the endpoint's certificate authority, a PEM file; without it the machine's own."""
    s3_bucket: str = "covenant"
    """COVENANT_S3_BUCKET."""
    s3_access_key: str = ""
    """COVENANT_S3_ACCESS_KEY."""
    s3_secret_key: str = field(default="", repr=False)
    """COVENANT_S3_SECRET_KEY."""
    push_url: str | None = None
    """COVENANT_PUSH_URL: the push service; without it notifications wait until they expire."""


_REQUIRED = (
    "region", "database_hosts", "replica", "database_user", "database_password", "nats_urls", "nats_user",
    "nats_password", "valkey", "valkey_password",
)  # fmt: skip
_OPTIONAL = {
    "database": str, "database_ca": str, "nats_ca": str, "tls_cert": str, "tls_key": str, "bus_domain": str,
    "mirrors": str, "host": str, "port": int, "region_host": str, "region_port": int, "region_tls_port": int,
    "stream_replicas": int, "duplicate_window_s": float, "ready_file": str,
    "metrics_port": int, "token_keys": str, "projects": int, "users_file": str, "s3_endpoint": str, "s3_ca": str,
    "s3_bucket": str, "s3_access_key": str, "s3_secret_key": str, "push_url": str,
}  # fmt: skip
_SECRET = ("database_password", "nats_password", "valkey_password", "token_keys", "s3_secret_key")


def variable(name: str) -> str:
    """The environment variable of a setting: `variable("region") == "COVENANT_REGION"`."""
    return f"COVENANT_{name.upper()}"


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. SettingsError names every variable that is missing or malformed."""
    values: dict[str, object] = {}
    problems: list[str] = []
    for name in (*_REQUIRED, *_OPTIONAL):
        try:
            value = _value(name, environment)
        except OSError as error:
            problems.append(f"{variable(name)}_FILE: {error}")
            continue
        if value is None or (name in _REQUIRED and not value):
            if name in _REQUIRED:
                problems.append(f"{variable(name)} is not set")
            continue
        kind = _OPTIONAL.get(name, str)
        try:
            values[name] = kind(value)
        except ValueError:
            problems.append(f"{variable(name)}: expected {kind.__name__}, found {value!r}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(**values)  # type: ignore[arg-type]


def _value(name: str, environment: Mapping[str, str]) -> str | None:
    """The value of a variable. A secret may stand in a file; a line break at the file's end is not part of it."""
    file = environment.get(f"{variable(name)}_FILE") if name in _SECRET else None
    return Path(file).read_text().removesuffix("\n") if file else environment.get(variable(name))

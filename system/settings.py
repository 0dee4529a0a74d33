"""Every environment variable that the system reads, typed, with its default. Secrets come only from here
or from the files that these name (`COVENANT_X_FILE` in place of `COVENANT_X`), and are never logged: `repr`
leaves them out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
    database_ca: str | None = None
    """COVENANT_DATABASE_CA: a PEM file, the authority that vouches for the members; without it the connections are
    not encrypted."""
    nats_urls: str
    """COVENANT_NATS_URLS: `nats://host:port,...`, the region's nearest first."""
    nats_user: str
    """COVENANT_NATS_USER."""
    nats_password: str = field(repr=False)
    """COVENANT_NATS_PASSWORD."""
    nats_ca: str | None = None
    """COVENANT_NATS_CA: a PEM file, the authority that vouches for the bus; without it the connections are not
    encrypted."""
    tls_cert: str | None = None
    """COVENANT_TLS_CERT: a PEM file, this process's certificate, with which it shows itself to the bus and serves."""
    tls_key: str | None = None
    """COVENANT_TLS_KEY: the certificate's key, a PEM file."""
    valkey: str
    """COVENANT_VALKEY: the region's cache, `host:port`."""
    valkey_password: str = field(repr=False)
    """COVENANT_VALKEY_PASSWORD."""
    host: str = "127.0.0.1"
    """COVENANT_HOST: what the API listens on."""
    port: int = 8000
    """COVENANT_PORT: this process's own, plain HTTP."""
    region_host: str = "127.0.0.1"
    """COVENANT_REGION_HOST: what every API of the region listens on; the kernel spreads connections over them."""
    region_port: int = 0
    """COVENANT_REGION_PORT: plain HTTP, shared by the region's APIs; 0: nowhere."""
    region_tls_port: int = 0
    """COVENANT_REGION_TLS_PORT: the same behind TLS 1.3, with COVENANT_TLS_CERT; 0: nowhere."""
    bus_domain: str = ""
    """COVENANT_BUS_DOMAIN: the JetStream domain of the bus that the mirrors follow."""
    mirrors: str = ""
    """COVENANT_MIRRORS: `region=url,url;region=url`, where each region keeps its mirror."""
    stream_replicas: int = 3
    """COVENANT_STREAM_REPLICAS: R of every stream."""
    duplicate_window_s: float = 600.0
    """COVENANT_DUPLICATE_WINDOW_S: how long a stream knows a message id again."""
    ready_file: str | None = None
    """COVENANT_READY_FILE: made when the process is ready to do its work, so that a supervisor can wait."""
    metrics_port: int = 0
    """COVENANT_METRICS_PORT: where relay and consumers serve their metrics on `host`; 0: nowhere."""
    token_keys: str = field(default="", repr=False)
    """COVENANT_TOKEN_KEYS: `id:secret,id:secret`, the secrets at least 32 characters. The first one signs the
    tokens of the API, all of them are believed; so a key is changed by putting a new one in front."""
    projects: int = 300
    """COVENANT_PROJECTS: how many projects a new database starts with, 300 to 58,500."""
    users_file: str | None = None
    """COVENANT_USERS_FILE: JSON, a list of `wire.NewUser`: the machine clients that a new database starts with."""
    s3_endpoint: str | None = None
    """COVENANT_S3_ENDPOINT: `https://host:port`; without it nothing is exported."""
    s3_ca: str | None = None
    """COVENANT_S3_CA: who vouches for that endpoint, a PEM file; without it whom the machine trusts."""
    s3_bucket: str = "covenant"
    """COVENANT_S3_BUCKET."""
    s3_access_key: str = ""
    """COVENANT_S3_ACCESS_KEY."""
    s3_secret_key: str = field(default="", repr=False)
    """COVENANT_S3_SECRET_KEY."""
    push_url: str | None = None
    """COVENANT_PUSH_URL: where notifications are posted to; without it they wait until they expire."""


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
    """A secret may stand in a file of its own, whose last line break is not part of it."""
    file = environment.get(f"{variable(name)}_FILE") if name in _SECRET else None
    return Path(file).read_text().removesuffix("\n") if file else environment.get(variable(name))

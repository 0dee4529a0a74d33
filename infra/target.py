"""What a client of a running system needs to know: addresses, the harness's credentials, and the durability and
security that are shown beside every figure.

A fabric writes the target when the system is ready; load, chaos and browser tests read it. It holds secrets, so only
its owner can read the file.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from infra.machine.checkout import STATE
from system import wire

UP = STATE / "up"
"""The home of the system that `./covenant up` runs in this checkout."""
FILE = "target.json"
VARIABLE = "COVENANT_TARGET"
"""The environment variable that names the target's file for a child process (Locust, Chaos Toolkit, pytest)."""


class NoTarget(Exception):
    """No running system is found; says what to do."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A user's name and password."""

    user: str
    password: str


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files: the authority that signed the servers' certificates, and a client's certificate and key."""

    ca_file: str
    cert_file: str
    key_file: str


class SecondApi(msgspec.Struct, frozen=True, kw_only=True):
    """Where two API processes of one region answer: `http://host:port`, inside the region."""

    first: str
    second: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running system is reached, and the credentials for it."""

    run_id: str
    regions: list[str]
    api: dict[str, str]
    """Region -> `http://host:port`."""
    nearest: dict[str, list[str]] = {}
    """Region -> all regions with an API, itself first, then the nearest first."""
    api_tls: dict[str, str] = {}
    """Region -> `https://host:port`, the same behind TLS 1.3; empty where the system runs without TLS."""
    web: dict[str, str]
    """Region -> the origin of its web app, `http://<region>.localhost:port`."""
    clients: dict[str, Login]
    """Machine client of the API -> id and secret to sign in with: `reader`, `operator`, `admin`, `steward-<region>`."""
    nats: list[str]
    """`nats://host:port` of every node."""
    nats_load: Login
    """May publish and subscribe `load.>`, manage streams that hold nothing else, publish health probes."""
    nats_observer: Login
    """May read streams and their state, and change nothing."""
    nats_crowd: Login | None = None
    """May be connected, very many times at once, and do nothing else; None where the bus has no such user."""
    nats_monitor: list[str] = []
    """Base URL of every bus node's monitoring, `https://host:port`."""
    observer_dsn: str
    """A libpq URL with all members of PostgreSQL, which finds the primary; may read every table and change nothing."""
    outbox_dsn: str = ""
    """The same for a role that may only append to the outbox and write heartbeats; empty where there is none."""
    replica_dsn: dict[str, str]
    """Region -> the observer's URL of the region's own member."""
    valkey: dict[str, str]
    """Region -> `redis://:password@host:port/0` of its cache."""
    stream_replicas: int
    durability: str
    security: str
    tls: Tls | None = None
    """None where the system runs without TLS."""
    enter: dict[str, list[str]] = {}
    """Region -> what to put before a command so that it runs inside the region, with the target of `inside_path`;
    empty where regions are not apart."""
    second_api: list[str] = []
    """A command that takes a region's name and runs one more process of its API for as long as its standard input is
    open. It prints a SecondApi, and starts the process when it reads a line. Empty if the fabric cannot do that."""

    def context(self) -> ssl.SSLContext | None:
        """The SSL context of this machine's programs: it verifies servers and holds the client's certificate; None
        without TLS."""
        return None if self.tls is None else _context(self.tls)

    def nats_options(self, login: Login) -> dict[str, Any]:
        """Arguments for nats-py's `connect`, to reach the bus as this user."""
        return {
            "servers": self.nats,
            "user": login.user,
            "password": login.password,
            "inbox_prefix": wire.inbox_prefix(login.user),
            "tls": self.context(),
            "tls_handshake_first": self.tls is not None,
        }


@lru_cache(maxsize=4)
def _context(tls: Tls) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=tls.ca_file)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(tls.cert_file, tls.key_file)
    return made


def inside_path(path: Path) -> Path:
    """The file of the same target for programs inside a region; it exists if the target has regions to enter."""
    return path.with_stem(f"{path.stem}-inside")


def write(target: Target, path: Path) -> None:
    """Write the target for child processes; the file is 0600 from its first byte."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(target))


def read(path: Path | None = None) -> Target:
    """The target in the file `path`, else in that of COVENANT_TARGET, else of this checkout's running system.
    NoTarget."""
    found = path or Path(os.environ.get(VARIABLE) or UP / FILE)
    try:
        return msgspec.json.decode(found.read_bytes(), type=Target)
    except FileNotFoundError:
        raise NoTarget(f"no system is running ({found} is missing): start one with ./covenant up --detach") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise NoTarget(f"{found}: {error}; start the system again with ./covenant down and ./covenant up") from error

"""Runs the API as a process, on the real servers of the tests, for tests that use it over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import psycopg

from system.api.auth.tokens import Tokens
from system.settings import Settings, variable
from system.wire import Region, Role

DEADLINE_S = 60.0
SECRET = "of-the-tests-and-longer-than-thirty-two-bytes"
USERS: dict[str, tuple[Role, Region | None]] = {
    "reader": ("reader", None),
    "steward-ams": ("steward", "ams"),
    "steward-syd": ("steward", "syd"),
    "operator": ("operator", None),
    "admin": ("admin", None),
}
_RATE_PER_S = 100_000


@dataclass(frozen=True)
class Api:
    """A running API: its address, its settings, and tokens for its users."""

    url: str
    settings: Settings
    pid: int

    def token(self, client_id: str, rate_per_s: int = _RATE_PER_S) -> str:
        role, region = USERS[client_id]
        return Tokens(self.settings.token_keys).sign(client_id, role, region, rate_per_s)

    def client(self, client_id: str | None, **headers: str) -> httpx.Client:
        """A client with this user's token; None: without a token."""
        bearer = {} if client_id is None else {"authorization": f"Bearer {self.token(client_id)}"}
        return httpx.Client(base_url=self.url, timeout=10, headers={**bearer, **headers})

    def database(self) -> psycopg.Connection[tuple[object, ...]]:
        host, _, port = self.settings.replica.partition(":")
        return psycopg.connect(
            f"host={host} port={port} user=postgres dbname={self.settings.database}", autocommit=True
        )


def write_users(path: Path) -> None:
    users = [
        {"id": name, "role": role, "region": region, "rate_per_s": _RATE_PER_S,
         "secret_sha256": sha256(SECRET.encode()).hexdigest()}
        for name, (role, region) in USERS.items()
    ]  # fmt: skip
    path.write_text(json.dumps(users))


@contextmanager
def running(settings: Settings, port: int, folder: Path) -> Iterator[Api]:
    """Run the API until the end of the block, and assert that it logged no traceback."""
    named = {
        **{name: value for name, value in vars(settings).items() if value is not None},
        "port": port, "ready_file": str(folder / "ready"),
    }  # fmt: skip
    environment = {**os.environ, **{variable(name): str(value) for name, value in named.items()}}
    make_streams = [sys.executable, "-m", "system.events.streams"]
    own_ready = {variable("ready_file"): str(folder / "streams")}
    subprocess.run(make_streams, env={**environment, **own_ready}, check=True, timeout=DEADLINE_S)
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen([sys.executable, "-m", "system.api"], env=environment, stderr=stderr)
    try:
        _wait_until_ready(process, folder)
        yield Api(f"http://127.0.0.1:{port}", settings, process.pid)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)
    assert "Traceback" not in (folder / "stderr").read_text(), (folder / "stderr").read_text()[:5_000]


def _wait_until_ready(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not (folder / "ready").exists():
        said = (folder / "stderr").read_text()
        assert process.poll() is None, said
        assert time.monotonic() < deadline, f"the API was not ready within {DEADLINE_S} s: {said}"
        time.sleep(0.02)

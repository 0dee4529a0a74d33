"""Fixtures of the engines' tests: real servers, and the target that names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import target as targets
from infra.target import Target
from loadtests.tests.load_servers import CLIENT, LOAD, Api, NatsServer, serving


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    folder = tmp_path / "nats"
    folder.mkdir()
    server = NatsServer(folder)
    yield server
    server.kill()


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


@pytest.fixture
def make_target(tmp_path: Path) -> Callable[..., Path]:
    """Writes the target of a system of which only the named parts are there; the rest refuses connections."""

    def make(nats: str = "nats://127.0.0.1:1", api: str = "http://127.0.0.1:1") -> Path:
        regions = ["iad", "ams"]
        path = tmp_path / "target.json"
        targets.write(
            Target(
                run_id=f"test.{os.getpid()}",
                regions=regions,
                api=dict.fromkeys(regions, api),
                web={},
                clients=dict.fromkeys(("reader", "steward-iad", "steward-ams"), CLIENT),
                nats=[nats],
                nats_load=LOAD,
                nats_observer=LOAD,
                observer_dsn="postgresql://nobody:none@127.0.0.1:1/covenant?connect_timeout=1",
                replica_dsn={},
                valkey={},
                stream_replicas=1,
                durability="one replica, file, sync_interval always",
                security="plain text, password",
            ),
            path,
        )
        return path

    return make

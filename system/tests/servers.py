"""The tests' servers: settings and secrets, and how to wait for them and create databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import psycopg
from botocore.client import Config

from system.settings import Settings
from system.store.migrate import migrate

DEADLINE_S = 60.0
PASSWORD = "of-the-tests"
TOKEN_KEYS = "tests:of-the-tests-and-long-enough-for-hs256"
DATABASE = "covenant"
S3_PORTS = ("s3", "master", "volume", "filer", "admin")
S3_GRPC_OFFSET = 10_000
BUCKET = "covenant"


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds. TimeoutError after DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds, without an event loop. AssertionError, with what was awaited, after DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s for {what}"
        time.sleep(0.02)


def s3_client(port: int) -> Any:
    return boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="tests", aws_secret_access_key=PASSWORD,
        region_name="eu-west-1", config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )  # fmt: skip


def settings_for(port: Callable[[str], int]) -> Settings:
    return Settings(
        region="ams",
        database_hosts=f"127.0.0.1:{port('postgres')}",
        replica=f"127.0.0.1:{port('postgres')}",
        database_user="covenant_app",
        database_password=PASSWORD,
        nats_urls=f"nats://127.0.0.1:{port('nats')}",
        nats_user="tests",
        nats_password=PASSWORD,
        valkey=f"127.0.0.1:{port('valkey')}",
        valkey_password=PASSWORD,
        stream_replicas=1,
        token_keys=TOKEN_KEYS,
    )


def make_database(settings: Settings) -> None:
    """Create the settings' database with schema and initial data, in place of an existing one."""
    host, _, number = settings.replica.partition(":")
    superuser = f"host={host} port={number} user=postgres"
    with psycopg.connect(f"{superuser} dbname=postgres", autocommit=True) as connection:
        for role in ("covenant_owner", "covenant_app", "covenant_observer"):
            if not connection.execute("select 1 from pg_roles where rolname = %s", (role,)).rowcount:
                connection.execute(f"create role {role} login")
        connection.execute(f"drop database if exists {settings.database} with (force)")
        connection.execute(f"create database {settings.database} owner covenant_owner")
    migrate(_as(settings, "covenant_owner"))


def _as(settings: Settings, user: str) -> Settings:
    return Settings(**{**vars(settings), "database_user": user})


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""

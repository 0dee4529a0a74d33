"""Bringing back what a system's database has lost, from its backups in S3 (`infra.backup`)."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg

from infra import certificates
from infra.backup.restore import Restored, Server, copy_table, restored
from infra.fabric.process import System
from infra.parts import postgres
from infra.parts.base import binary
from infra.parts.s3 import backup_access

_REACHED_WITHIN_S = 30.0
_COPIED_WITHIN_S = 60.0


@contextmanager
def database_at(
    system: System, at: datetime | None, reached_within_s: float = _REACHED_WITHIN_S
) -> Iterator[tuple[Restored, str]]:
    """The system's database as it was at an instant, or as far as the archive goes (None), in a PostgreSQL of its own
    on this machine, with its superuser's URL; removed afterwards. infra.backup.restore.NotRestored."""
    place, site = system.place, system.site
    archiver = place.nodes("archiver")[0]
    folder = site.path / "restored"
    shutil.rmtree(folder, ignore_errors=True)
    mine = certificates.of(site, archiver)
    server = Server(
        prefix=site.demotion.prefix,
        owner=site.demotion.owner,
        programs=_programs(),
        port=_free_port(),
        tls=(mine.cert, mine.key, mine.ca) if site.options.tls == "on" else None,
    )
    secret = site.secrets["postgres"]
    try:
        with restored(
            backup_access(place, outside=True),
            folder,
            server,
            user="postgres",
            password=secret,
            at=at,
            reached_within_s=reached_within_s,
        ) as found:
            yield found, postgres.dsn(place, "postgres", secret, port=found.port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def restore_table(system: System, table: str, at: datetime) -> Restored | None:
    """Bring a table that was dropped back as it was at an instant; nothing happens (None) if it is there.
    infra.backup.restore.NotRestored."""
    owner = postgres.dsn(system.place, "covenant_owner", system.site.secrets["owner"])
    with psycopg.connect(owner, autocommit=True) as link:
        if link.execute("select 1 from pg_tables where tablename = %s", [table]).fetchone():
            return None
    with database_at(system, at) as (found, source):
        copy_table(_programs(), source, owner, table, system.site.path / "restored", _COPIED_WITHIN_S)
    return found


def _free_port() -> int:
    """For the moment: the system's own ports are all in use, or forwarded into its regions."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _programs() -> Path:
    return Path(binary(postgres.Postgres.package, "postgres")).parent

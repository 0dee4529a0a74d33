"""Bringing back what a system's database has lost, from its backups in S3 (`infra.backup`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from infra.backup.restore import NotRestored, Restored, Server, copy_table, restored
from infra.fabric.protocol import Fabric
from infra.machine.ports import free_port
from infra.machine.progress import Report
from infra.parts import postgres
from infra.parts.base import binary
from infra.parts.s3 import backup_access
from infra.site import certificates

_REACHED_WITHIN_S = 30.0
_COPIED_WITHIN_S = 60.0


def _silent(fraction: float, what: str) -> None:
    """Shows no progress."""


@contextmanager
def database_at(
    system: Fabric, at: datetime | None, reached_within_s: float = _REACHED_WITHIN_S
) -> Iterator[tuple[Restored, str]]:
    """A separate PostgreSQL on this machine with the system's database at an instant, or at the archive's end (None),
    and its superuser's URL. It is removed afterwards. infra.backup.restore.NotRestored."""
    try:
        with _server_at(system, at, reached_within_s) as found:
            yield found, postgres.dsn(system.place, "postgres", system.site.secrets["postgres"], port=found.port)
    finally:
        shutil.rmtree(_folder(system), ignore_errors=True)


def restore_table(
    system: Fabric, table: str, at: datetime, *, replace: bool = False, progress: Report = _silent
) -> Restored | None:
    """Restore a dropped table as it was at an instant. If the table exists, nothing is done (None); with `replace` it
    is moved to the schema `replaced_<date>_<time>` first. infra.backup.restore.NotRestored."""
    owner = postgres.dsn(system.place, "covenant_owner", system.site.secrets["owner"])
    with psycopg.connect(owner, autocommit=True) as link:
        if _has_table(link, table) and not replace:
            return None
        progress(0.1, f"fetching a base backup and WAL, replaying up to {at.isoformat()}")
        with database_at(system, at) as (found, source):
            with psycopg.connect(source) as past:
                if not _has_table(past, table):
                    raise NotRestored(f"expected a table {table} at {at.isoformat()}, found {_tables(past)}")
            progress(0.6, f"copying {table} back")
            kept = _set_aside(link, table) if _has_table(link, table) else None
            try:
                copy_table(_programs(), source, owner, table, _folder(system), _COPIED_WITHIN_S)
            except NotRestored:
                if kept:
                    link.execute(sql.SQL("alter table {} set schema public").format(sql.Identifier(kept, table)))
                raise
        # Without statistics, queries on the table have bad plans until autovacuum runs.
        link.execute(sql.SQL("analyze {}").format(sql.Identifier("public", table)))
    return found


def _has_table(link: psycopg.Connection[Any], table: str) -> bool:
    found = link.execute("select 1 from pg_tables where schemaname = 'public' and tablename = %s", [table])
    return found.fetchone() is not None


def _tables(link: psycopg.Connection[Any]) -> str:
    rows = link.execute("select tablename from pg_tables where schemaname = 'public' order by 1 limit 100")
    return ", ".join(name for (name,) in rows) or "none at all"


def _set_aside(link: psycopg.Connection[Any], table: str) -> str:
    """Move a table with its indexes to a schema of its own; the schema's name."""
    schema = f"replaced_{datetime.now(UTC):%Y%m%d_%H%M%S}"
    with link.transaction():
        link.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        moved = sql.SQL("alter table {} set schema {}")
        link.execute(moved.format(sql.Identifier("public", table), sql.Identifier(schema)))
    return schema


@contextmanager
def _server_at(system: Fabric, at: datetime | None, reached_within_s: float) -> Iterator[Restored]:
    """The PostgreSQL of `database_at`, whose files stay."""
    place, site = system.place, system.site
    folder = _folder(system)
    shutil.rmtree(folder, ignore_errors=True)
    mine = certificates.of(site, place.nodes("archiver")[0])
    server = Server(
        prefix=site.unprivileged.prefix,
        owner=site.unprivileged.owner,
        programs=_programs(),
        port=free_port(),  # The system's own are all in use, or forwarded into its regions.
        tls=(mine.cert, mine.key, mine.ca) if site.options.tls == "on" else None,
    )
    with restored(
        backup_access(place, outside=True),
        folder,
        server,
        user="postgres",
        password=site.secrets["postgres"],
        at=at,
        reached_within_s=reached_within_s,
    ) as found:
        yield found


def _folder(system: Fabric) -> Path:
    return system.site.path / "restored"


def _programs() -> Path:
    return Path(binary(postgres.Postgres.package, "postgres")).parent

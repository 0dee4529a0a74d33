"""Starts a separate PostgreSQL with the cluster's state at an instant, or at the archive's end, from the bucket alone.

It unpacks the newest base backup from before that instant and puts the WAL since then together. PostgreSQL replays the
WAL up to the instant and opens. A dropped table is then copied back from there (`copy_table`); a lost cluster begins
again with this PostgreSQL as its first member.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import psycopg

from infra.backup import archive
from infra.backup.bucket import Access, Bucket, BucketError
from infra.machine import processes
from infra.machine.waiting import until

_FETCHERS = 4
_ATTEMPTS = 6
"""Tries of each request: a store that has just started lists objects that it cannot serve yet."""
_OPENS_WITHIN_S = 300.0
_POLL_S = 0.05
_END_WITHIN_S = 10.0
_NOT_REACHED = "recovery ended before configured recovery target was reached"
# `max_connections` is at least the primary's: with less, recovery would not begin.
_SETTINGS = {
    "max_connections": "1000", "shared_buffers": "32MB", "unix_socket_directories": "''",
    "dynamic_shared_memory_type": "mmap", "jit": "off", "password_encryption": "scram-sha-256",
    # At the target, recovery ends and the server takes writes; a client sees by that when it is restored.
    "recovery_target_action": "promote", "recovery_target_timeline": "latest",
}  # fmt: skip


class NotRestored(Exception):
    """The database could not be restored; says what is missing and what to do."""


class NotReached(NotRestored):
    """The archive does not reach the instant yet."""


class Server(NamedTuple):
    """How and where the restored PostgreSQL runs."""

    prefix: list[str]
    """Put before its command, so that it does not run as root."""
    owner: int | None
    """The uid that its files have to belong to; None: they keep their owner."""
    programs: Path
    port: int
    tls: tuple[Path, Path, Path] | None
    """Certificate, key, authority."""


class Restored(NamedTuple):
    """A running PostgreSQL, and what restoring it took."""

    port: int
    base: str
    """The name of the base backup."""
    segments: int
    """How many segments of WAL were fetched."""
    fetched_s: float
    """Seconds from the call until everything was fetched."""
    opened_s: float
    """Seconds from the call until the server took writes."""


@contextmanager
def restored(
    access: Access,
    folder: Path,
    server: Server,
    *,
    user: str,
    password: str,
    at: datetime | None,
    reached_within_s: float,
) -> Iterator[Restored]:
    """Run a PostgreSQL in the new folder `folder` with the state at `at` (with a time zone), or at the archive's end if
    that is None; it is stopped afterwards.

    If the archive does not reach `at` yet, it is fetched again for up to `reached_within_s`. NotRestored.
    """
    began = time.monotonic()
    folder.mkdir(mode=0o700)
    bucket = Bucket(access, _ATTEMPTS)
    try:
        base = _fetch_base(bucket, folder / "data", at)
        start, size = _start_segment(folder / "data"), _segment_bytes(server.programs, folder / "data")
        while True:
            segments = _fetch_wal(bucket, folder / "wal", start, size)
            fetched_s = time.monotonic() - began
            try:
                process = _open(folder, server, user, password, at)
                break
            except NotReached:
                if time.monotonic() > began + reached_within_s:
                    raise
    except (BucketError, archive.Gap, OSError, subprocess.SubprocessError, tarfile.TarError) as error:
        raise NotRestored(f"nothing was restored: {error}") from error
    finally:
        bucket.close()
    try:
        yield Restored(server.port, base, segments, fetched_s, time.monotonic() - began)
    finally:
        processes.end(process, _END_WITHIN_S)


def copy_table(programs: Path, source: str, goal: str, table: str, folder: Path, within_s: float) -> None:
    """Copy a table with its data, indexes, triggers and grants from one database to another, in one transaction.
    `source` and `goal` are libpq URLs, `folder` takes the dump. NotRestored with the failed program's message."""
    dump = str(folder / f"{table}.dump")
    steps = (
        (source, ["pg_dump", "--format=custom", "--compress=0", f"--table=public.{table}", f"--file={dump}"]),
        (goal, ["pg_restore", "--no-owner", "--single-transaction", "--exit-on-error", "--dbname=", dump]),
    )
    deadline = time.monotonic() + within_s
    for url, (program, *arguments) in steps:
        try:
            done = subprocess.run(
                [str(programs / program), *arguments], env=_login(url), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=max(0.0, deadline - time.monotonic()), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise NotRestored(f"{table} was not copied within {within_s:.0f} s") from None
        if done.returncode != 0:
            raise NotRestored(f"{table} was not copied: {done.stderr.decode(errors='replace').strip()[-500:]}")


def _login(url: str) -> dict[str, str]:
    """A libpq URL as environment variables, so that its password is on no command line."""
    names = {"dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD", "host": "PGHOST", "port": "PGPORT",
             "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "connect_timeout": "PGCONNECT_TIMEOUT",
             "target_session_attrs": "PGTARGETSESSIONATTRS"}  # fmt: skip
    values = psycopg.conninfo.conninfo_to_dict(url)
    return {**os.environ, **{names[name]: str(value) for name, value in values.items()}}


def _fetch_base(bucket: Bucket, data: Path, at: datetime | None) -> str:
    there = bucket.first_versions(archive.BASE)
    ended = {}
    for key, version in there.items():
        if key.endswith(archive.BASE_DONE):
            ended[key.removesuffix(archive.BASE_DONE)] = msgspec.json.decode(bucket.read(key, version))["ended_at"]
    base = archive.newest_base(ended, None if at is None else at.isoformat(timespec="microseconds"))
    if base is None:
        oldest = min(ended.values(), default=None)
        there_is = f"the oldest is of {oldest}" if oldest else "the archiver takes the first one when it starts"
        raise NotRestored(f"there is no base backup from before {at}: {there_is}")
    key = base + archive.BASE_TAR
    data.mkdir(mode=0o700)
    with bucket.open(key, there[key]) as body, tarfile.open(fileobj=body, mode="r|gz") as tar:
        tar.extractall(data, filter="data")
    return base.removeprefix(archive.BASE)


def _start_segment(data: Path) -> str:
    """The first segment, from the backup's label: `START WAL LOCATION: 0/3000028 (file 000000010000000000000003)`."""
    first = (data / "backup_label").read_text().splitlines()[0]
    return first.rpartition("(file ")[2].rstrip(")")


def _segment_bytes(programs: Path, data: Path) -> int:
    done = subprocess.run(
        [str(programs / "pg_controldata"), "-D", str(data)], capture_output=True, text=True, timeout=10, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("Bytes per WAL segment:"))
    return int(line.rpartition(":")[2])


def _fetch_wal(bucket: Bucket, wal: Path, start_segment: str, segment_bytes: int) -> int:
    """Put all segments together in `wal`; the number of segments."""
    wal.mkdir(exist_ok=True)
    there = bucket.first_versions(archive.WAL)
    segments = archive.needed(there, start_segment, segment_bytes)

    def put_together(segment: str) -> None:
        with (wal / segment).open("wb") as file:
            for chunk in segments[segment]:
                file.seek(chunk.begin)
                file.write(bucket.read(chunk.key, there[chunk.key]))
            file.truncate(segment_bytes)

    with ThreadPoolExecutor(_FETCHERS) as pool:
        list(pool.map(put_together, segments))
    for key, version in there.items():
        name = key.removeprefix(archive.WAL)
        if archive.is_history(name):
            (wal / name).write_bytes(bucket.read(key, version))
    return len(segments)


def _open(folder: Path, server: Server, user: str, password: str, at: datetime | None) -> subprocess.Popen[bytes]:
    """Start PostgreSQL, and wait until it has replayed everything and takes writes. NotReached, NotRestored."""
    _configure(folder, server, at)
    if server.owner is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, server.owner, server.owner, follow_symlinks=False)
    log = folder / "log"
    command = [*server.prefix, str(server.programs / "postgres"), "-D", str(folder / "data"),
               f"--config-file={folder / 'postgresql.conf'}"]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    url = f"postgresql://{user}@127.0.0.1:{server.port}/postgres?connect_timeout=1"
    if server.tls:
        url += f"&sslmode=verify-full&sslrootcert={quote(str(server.tls[2]))}"

    def opened() -> bool | None:
        """True once it takes writes, False if it has ended."""
        if process.poll() is not None:
            return False
        with suppress(psycopg.OperationalError), psycopg.connect(url, password=password) as link:
            return link.execute("select pg_is_in_recovery()").fetchone() == (False,) or None
        return None

    try:
        if until(opened, _OPENS_WITHIN_S, every_s=_POLL_S):
            return process
    except BaseException:
        processes.end(process, _END_WITHIN_S)
        raise
    processes.end(process, _END_WITHIN_S)
    said = log.read_text(errors="replace")
    if _NOT_REACHED in said:
        raise NotReached(f"the archive does not reach {at}: look whether the archiver runs")
    raise NotRestored("the restored PostgreSQL did not open:\n" + "\n".join(said.splitlines()[-8:]))


def _configure(folder: Path, server: Server, at: datetime | None) -> None:
    hba = folder / "pg_hba.conf"
    hba.write_text(f"{'hostssl' if server.tls else 'host'} all all 127.0.0.1/32 scram-sha-256\n")
    settings = {
        **_SETTINGS,
        "listen_addresses": "'127.0.0.1'",
        "port": str(server.port),
        "hba_file": _quoted(hba),
        # PostgreSQL puts in %f and %p, then a shell reads the command.
        "restore_command": _quoted(f'cp {shlex.quote(str(folder / "wal")).replace("%", "%%")}/%f "%p"'),
    }
    if server.tls:
        settings |= {"ssl": "on", "ssl_min_protocol_version": "'TLSv1.3'", "ssl_cert_file": _quoted(server.tls[0]),
                     "ssl_key_file": _quoted(server.tls[1])}  # fmt: skip
    if at is not None:
        settings["recovery_target_time"] = f"'{at.isoformat()}'"
    (folder / "postgresql.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    (folder / "data" / "recovery.signal").touch()


def _quoted(value: object) -> str:
    """A string in PostgreSQL's configuration."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"

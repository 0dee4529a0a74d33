"""The archiver: `python -m infra.backup.archiver CONFIG`.

It runs pg_receivewal against the primary, whichever member that is, and puts the WAL that arrives into the bucket: at
once after a pause, several times a second in a stream. A replication slot, which Patroni keeps on every member, retains
the WAL that was not fetched. When pg_receivewal ends (the primary is gone, or is no primary any more), it is started
again from the slot: WAL that was streamed before comes again, and only what is new is put. So the archiver needs to
know nothing about what happened meanwhile.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from infra.backup import archive
from infra.backup.bucket import Access, Bucket, BucketError
from infra.machine import processes

_POLL_S = 0.05
_REST_S = 0.2
"""The pause after a put. A cluster that is lost loses the WAL of this time and of one put."""
_PAUSE_S = 0.5
_SPOOL_BYTES_MAX = 512 * 1024 * 1024
_BASE_EVERY_S = 24 * 3600.0
_BASE_RETRY_AFTER_S = 5.0
_BASE_WITHIN_S = 3600.0
_END_WITHIN_S = 5.0

log = logging.getLogger("archiver")


class Config(msgspec.Struct, frozen=True):
    """The content of CONFIG."""

    programs: str
    """The folder of pg_receivewal and pg_basebackup."""
    conninfo: str
    """A libpq connection string with all members and a user that may replicate; the password is in `passfile`."""
    passfile: str
    slot: str
    spool: str
    """The folder that pg_receivewal writes to."""
    ready_file: str
    """A file that the archiver makes once a base backup is in the bucket."""
    access: Access


class Spool:
    """The files that pg_receivewal writes, on their way to the bucket."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        self._folder = folder
        self._bucket = bucket
        self._done: dict[str, int] = {}
        self._histories: set[str] = set()

    def put(self) -> int:
        """Put what is new into the bucket, and delete complete segments; the number of bytes put. BucketError."""
        count = 0
        for path in sorted(self._folder.iterdir()):
            if archive.is_history(path.name) and path.name not in self._histories:
                self._bucket.put(archive.WAL + path.name, path.read_bytes())
                self._histories.add(path.name)
            elif (file := archive.segment_file(path.name)) is not None:
                count += self._put_segment(path, file)
        return count

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def clear(self) -> None:
        """Delete all files; they have to be in the bucket."""
        for path in self._folder.iterdir():
            path.unlink()

    def _put_segment(self, path: Path, file: archive.File) -> int:
        begin = 0 if file.complete else self._done_of(file.segment)
        try:
            with path.open("rb", buffering=0) as opened:
                opened.seek(begin)
                end = None if file.complete else archive.written_up_to(opened.read, begin)
                opened.seek(begin)
                data = opened.readall() if end is None else opened.read(end - begin)
        except FileNotFoundError:
            return 0  # It was completed meanwhile, and has its final name at the next call.
        if data:
            self._bucket.put(archive.chunk_key(file.segment, begin, begin + len(data)), data)
            self._done[file.segment] = begin + len(data)
        if file.complete:
            path.unlink()
            del self._done[file.segment]
        return len(data)

    def _done_of(self, segment: str) -> int:
        if segment not in self._done:
            there = archive.chunks(self._bucket.first_versions(f"{archive.WAL}{segment}/"))
            self._done[segment] = archive.end_of(there.get(segment, ()))
        return self._done[segment]


class Archiver:
    """Archives WAL and takes base backups until `stopping` is set."""

    def __init__(self, config: Config, bucket: Bucket, stopping: threading.Event) -> None:
        self._config = config
        self._bucket = bucket
        self._stopping = stopping
        self._spool = Spool(Path(config.spool), bucket)
        self._streamed = threading.Event()
        self._ready = Path(config.ready_file)

    def run(self) -> None:
        bases = threading.Thread(target=self._keep_bases, name="bases", daemon=True)
        bases.start()
        while not self._stopping.is_set():
            receiver = self._start("pg_receivewal", "--no-loop", f"--slot={self._config.slot}",
                                   f"--directory={self._config.spool}")  # fmt: skip
            try:
                while receiver.poll() is None and not self._stopping.is_set():
                    count = self._put()
                    if count is None and not self._has_room():
                        break
                    self._stopping.wait(_POLL_S if count == 0 else _REST_S)
            finally:
                _end(receiver)
            # Everything that was streamed has to be in the bucket before it is deleted here.
            while self._put() is None and not self._stopping.is_set():
                self._stopping.wait(_PAUSE_S)
            if not self._stopping.is_set():
                self._spool.clear()
                self._stopping.wait(_PAUSE_S)
        bases.join(_END_WITHIN_S)

    def _put(self) -> int | None:
        """The number of bytes put; None if S3 did not take them."""
        try:
            count = self._spool.put()
        except BucketError as error:
            log.warning("%s", error)
            return None
        if count:
            self._streamed.set()
        return count

    def _has_room(self) -> bool:
        """Whether pg_receivewal may go on; if not, the primary's slot retains the WAL, up to a limit of its own."""
        return self._spool.size() < _SPOOL_BYTES_MAX

    def _keep_bases(self) -> None:
        """Take the first base backup once WAL is put, so that the bucket has all that it needs; then one a day."""
        while not self._streamed.wait(1.0) and not self._stopping.is_set():
            pass
        while not self._stopping.is_set():
            try:
                self._take_base()
            except (BucketError, OSError, subprocess.SubprocessError) as error:
                log.warning("no base backup: %s", error)
                self._stopping.wait(_BASE_RETRY_AFTER_S)
            else:
                self._ready.touch()
                self._stopping.wait(_BASE_EVERY_S)

    def _take_base(self) -> None:
        name = archive.BASE + _now()
        backup = self._start("pg_basebackup", "--pgdata=-", "--format=tar", "--wal-method=none", "--checkpoint=fast",
                             "--compress=client-gzip:1", output=True)  # fmt: skip
        watch = threading.Timer(_BASE_WITHIN_S, backup.kill)
        watch.start()
        try:
            assert backup.stdout is not None
            self._bucket.put_stream(name + archive.BASE_TAR, backup.stdout)
            if (code := backup.wait(_END_WITHIN_S)) != 0:
                raise subprocess.SubprocessError(f"pg_basebackup ended with exit code {code}")
            self._bucket.put(name + archive.BASE_DONE, msgspec.json.encode({"ended_at": _now()}))
        finally:
            watch.cancel()
            _end(backup)

    def _start(self, program: str, *arguments: str, output: bool = False) -> subprocess.Popen[bytes]:
        path = str(Path(self._config.programs) / program)
        return subprocess.Popen(
            [path, f"--dbname={self._config.conninfo}", "--no-password", *arguments],
            env={**os.environ, "PGPASSFILE": self._config.passfile},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if output else None,
        )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _end(process: subprocess.Popen[bytes]) -> None:
    processes.end(process, _END_WITHIN_S)
    if process.stdout is not None:
        process.stdout.close()


def main(arguments: list[str], make_bucket: Callable[[Access], Bucket] = Bucket) -> int:
    logging.basicConfig(level=logging.INFO, format="archiver: %(message)s")
    config = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Config)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    bucket = make_bucket(config.access)
    try:
        Archiver(config, bucket, stopping).run()
    finally:
        bucket.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

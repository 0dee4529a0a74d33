"""The undo journal: what must be reverted whatever happens to the harness.

Before a fault is injected its undo is written here and synced to disk; after it was undone, that is written,
too. What has the first line and not the second is open. The journal lies in the system's home, so that any
later process can heal a system whose harness was killed with -9. An undo is kept by its name, because the process that
heals is often not the one that injected; the journal itself knows no fault (`chaos.faults.registry` does).

The order (undo written, fault injected, undone, done written) means that a crash leaves at worst an undo of
something that never happened or was undone already. So every undo must be idempotent.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

_FILE_NAME = "undo.jsonl"
_MAX_BYTES = 16 * 1024 * 1024

T = TypeVar("T")


class JournalError(Exception):
    """The journal cannot be used; names the file and says what to do."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """How to revert one fault: `action` names an undo of `chaos.faults.registry`, called with `arguments`."""

    id: str
    experiment: str
    action: str
    arguments: dict[str, str]
    at: float
    """Seconds since 1970: unlike the monotonic clock it means something after a reboot."""

    def in_words(self) -> str:
        """`pg-primary-kill: restart postgres-iad-a`."""
        return " ".join([f"{self.experiment}:", self.action, *self.arguments.values()])


class OpenFault(msgspec.Struct, frozen=True):
    """A fault that is not reverted yet."""

    undo: Entry
    proven: bool

    def describe(self) -> dict[str, Any]:
        """As `status --json` shows it."""
        return {
            "experiment": self.undo.experiment,
            "injector": self.undo.in_words(),
            "since": datetime.fromtimestamp(self.undo.at, UTC).isoformat(timespec="seconds"),
            "proven": self.proven,
        }


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    done: str


def encode_undo(undo: Entry) -> bytes:
    """The journal line that comes before the fault."""
    return msgspec.json.encode(undo) + b"\n"


def encode_done(undo_id: str) -> bytes:
    """The journal line that comes after the fault was reverted."""
    return msgspec.json.encode(_Done(done=undo_id)) + b"\n"


def open_undos(content: bytes) -> list[Entry]:
    """The undos of a journal that are not done yet, the latest first: faults are reverted in reverse order.

    A line that cannot be read was torn by its writer's death. The fault of a torn undo was never injected,
    since the injection waits for the whole line to be on disk; what a torn done speaks of is undone again.
    """
    found: dict[str, Entry] = {}
    for line in content.split(b"\n"):
        if (done := _decode(line, _Done)) is not None:
            found.pop(done.done, None)
        elif (undo := _decode(line, Entry)) is not None:
            found[undo.id] = undo
    return list(reversed(found.values()))


def _decode(line: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError:
        return None


class Journal:
    """The journal of one system, by its home folder. Nothing is kept in memory: several processes share it."""

    def __init__(self, home: Path) -> None:
        self.path = home / _FILE_NAME

    def begin(self, experiment: str, action: str, arguments: Mapping[str, str]) -> Entry:
        """Write how to revert a fault that is about to be injected. It is on disk when this returns.

        JournalError if it cannot be written: then the fault must not be injected.
        """
        undo = Entry(
            id=uuid.uuid4().hex,
            experiment=experiment,
            action=action,
            arguments=dict(arguments),
            at=time.time(),
        )
        self._append(encode_undo(undo))
        return undo

    def done(self, undo: Entry) -> None:
        """Write that a fault was reverted."""
        self._append(encode_done(undo.id))

    def open(self) -> list[Entry]:
        """What is open, the latest first; nothing if there is no journal."""
        try:
            if self.path.stat().st_size > _MAX_BYTES:
                raise JournalError(
                    f"{self.path}: expected at most {_MAX_BYTES:,} bytes; stop the system and start it anew"
                )
            return open_undos(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"{self.path} cannot be read: {error}") from error

    def _append(self, line: bytes) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                # A torn last line must not swallow ours. One write, so that lines of two processes do not mix.
                _write_whole(descriptor, line if _ends_with_newline(descriptor) else b"\n" + line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written, so nothing was injected: {error}") from error


def _write_whole(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes were written; is the disk full?")


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The undo journal: what must be reverted whatever happens to the harness.

Before a fault is injected its undo is written here and synced to disk; after it was undone, that is written,
too. What has the first line and not the second is open. The journal lies in the system's home, so that any
later process can heal a system whose harness was killed with -9. An undo is looked up by its name, because
whoever heals is often not who injected.

The order (undo written, fault injected, undone, done written) means that a crash leaves at worst an undo of
something that never happened or was undone already. So every undo must be idempotent.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import psutil
import psycopg

from chaos.handover import Facts
from infra.backup.restore import NotRestored
from infra.fabric.process.system import StartError, System
from infra.operations import promotion, recovery
from infra.operations.promotion import NotTakenOver
from infra.site import bus_layout
from infra.wan import control
from infra.wan.links import planned

RESTART: Final = "restart"
"""The undo of a kill or a stop: let the part go on if it was stopped, start it if it is gone."""
RESTORE_LINK: Final = "restore the link"
"""The undo of whatever was done to one direction of a link: it is again what the topology says."""
RESTORE_TABLE: Final = "restore the table"
"""The undo of a dropped table: it is brought back from the backups as it was the moment before."""
RETURN_REGION: Final = "bring the region back"
"""The undo of the loss of a region: it is started, follows the one that took over, and is the active one again."""

_FILE_NAME = "undo.jsonl"
_MAX_BYTES = 16 * 1024 * 1024

T = TypeVar("T")


class JournalError(Exception):
    """The journal cannot be used; names the file and says what to do."""


class HealError(Exception):
    """Some faults could not be reverted; names each with its reason. The others were."""


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """How to revert one fault: `action` is one of the names above, called with `arguments`."""

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
    """A fault that nobody has reverted yet."""

    undo: Undo
    proven: bool

    def describe(self) -> dict[str, Any]:
        """As `status --json` tells it."""
        return {
            "experiment": self.undo.experiment,
            "injector": self.undo.in_words(),
            "since": datetime.fromtimestamp(self.undo.at, UTC).isoformat(timespec="seconds"),
            "proven": self.proven,
        }


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    done: str


def encode_undo(undo: Undo) -> bytes:
    """The journal line that comes before the fault."""
    return msgspec.json.encode(undo) + b"\n"


def encode_done(undo_id: str) -> bytes:
    """The journal line that comes after the fault was reverted."""
    return msgspec.json.encode(_Done(done=undo_id)) + b"\n"


def open_undos(content: bytes) -> list[Undo]:
    """The undos of a journal that are not done yet, the latest first: faults are reverted in reverse order.

    A line that cannot be read was torn by its writer's death. The fault of a torn undo was never injected,
    since the injection waits for the whole line to be on disk; what a torn done speaks of is undone again.
    """
    found: dict[str, Undo] = {}
    for line in content.split(b"\n"):
        if (done := _decode(line, _Done)) is not None:
            found.pop(done.done, None)
        elif (undo := _decode(line, Undo)) is not None:
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

    def begin(self, experiment: str, action: str, arguments: Mapping[str, str]) -> Undo:
        """Write how to revert a fault that is about to be injected. It is on disk when this returns.

        JournalError if it cannot be written: then the fault must not be injected.
        """
        undo = Undo(
            id=uuid.uuid4().hex,
            experiment=experiment,
            action=action,
            arguments=dict(arguments),
            at=time.time(),
        )
        self._append(encode_undo(undo))
        return undo

    def done(self, undo: Undo) -> None:
        """Write that a fault was reverted."""
        self._append(encode_done(undo.id))

    def open(self) -> list[Undo]:
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


def open_faults(home: Path) -> list[OpenFault]:
    """The faults of a system that are not reverted, the latest first."""
    facts = Facts(home)
    return [OpenFault(undo, facts.proven(undo.experiment)) for undo in Journal(home).open()]


def heal(system: System, experiment: str | None = None) -> list[str]:
    """Revert every open fault (or an experiment's), the latest first; what was reverted, in words.

    Twice does no harm. It does not wait for the system to be whole again: `System.missing` says what it lacks.
    HealError names what could not be reverted, after everything else was.
    """
    journal = Journal(system.site.path)
    reverted, problems = [], []
    for undo in journal.open():
        if experiment not in (None, undo.experiment):
            continue
        try:
            _revert(system, undo)
            journal.done(undo)
        except (HealError, JournalError, OSError, KeyError, psutil.Error) as error:
            problems.append(f"{undo.in_words()}: {error!r}")
        else:
            reverted.append(undo.in_words())
    if problems:
        raise HealError("; ".join(problems))
    return reverted


def _revert(system: System, undo: Undo) -> None:
    action = _UNDO.get(undo.action)
    if action is None:
        raise HealError(
            f"expected one of {', '.join(_UNDO)}: another version broke the system; stop it and start it anew"
        )
    action(system, undo.arguments)


def _restart(system: System, arguments: Mapping[str, str]) -> None:
    name = arguments["part"]
    if (pid := system.pid(name)) is not None:
        psutil.Process(pid).resume()
    system.start_part(name)


def _restore_link(system: System, arguments: Mapping[str, str]) -> None:
    source, target = arguments["source"], arguments["target"]
    shape = planned(system.place.topology.distance_ms(source, target))
    try:
        control.ask(system.site.path, control.Set(source=source, target=target, shape=shape))
    except control.WanError as error:
        raise HealError(str(error)) from error


def _restore_table(system: System, arguments: Mapping[str, str]) -> None:
    try:
        recovery.restore_table(system, arguments["table"], datetime.fromisoformat(arguments["at"]))
    except (NotRestored, psycopg.Error) as error:
        raise HealError(str(error)) from error


def _return_region(system: System, arguments: Mapping[str, str]) -> None:
    region = arguments["region"]
    try:
        promotion.bring_back(system, region)
        if bus_layout.active_region(system.place) != region:
            promotion.take_over(system, region)
    except (StartError, NotTakenOver) as error:
        raise HealError(str(error)) from error


_UNDO: dict[str, Callable[[System, Mapping[str, str]], None]] = {
    RESTART: _restart, RESTORE_LINK: _restore_link, RESTORE_TABLE: _restore_table,
    RETURN_REGION: _return_region,
}  # fmt: skip


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

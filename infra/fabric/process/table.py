"""The named processes of one system, recorded on disk: every process that attaches to the system knows them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from infra.machine import processes, surroundings
from infra.machine.processes import Record


class ProcessTable:
    """The processes of the system that lives in `home`, one record a name."""

    def __init__(self, home: Path, run_id: str) -> None:
        self.home = home
        self._run_id = run_id

    def locked(self, name: str) -> AbstractContextManager[None]:
        """No other process starts this one or changes its record meanwhile."""
        return processes.locked(self.home / f"{name}.lock")

    def record(self, name: str) -> Record | None:
        return processes.read_record(self._path(name))

    def alive(self, name: str) -> bool:
        return processes.find(self.record(name)) is not None

    def pid(self, name: str) -> int | None:
        process = processes.find(self.record(name))
        return process.pid if process else None

    def wanted(self, name: str) -> bool:
        """Whether it is meant to run: False once it was killed on purpose."""
        record = self.record(name)
        return record is not None and record.wanted

    def mark(self, name: str, *, wanted: bool = True, crashed: bool = False) -> None:
        """Record what is about to be done to a process, before it is done."""
        record = self.record(name)
        if record is not None and record.wanted:
            marked = msgspec.structs.replace(record, wanted=wanted, crashed=record.crashed or crashed)
            processes.write_record(self._path(name), marked)

    def spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        """Start a process that outlives this one."""
        with log.open("ab") as file:
            child = processes.spawn(command, environment=environment, folder=folder, log=file)
        processes.write_record(self._path(name), processes.record(child.pid))
        # The record identifies the process from here on. It may outlive us, so Popen must not wait for it.
        child.returncode = 0

    def start_helper(self, name: str, module: str) -> Path:
        """Start a process that belongs to the system and is no part of it; its log."""
        log = self.home / f"{name}.log"
        command = [sys.executable, "-m", module, str(self.home)]
        self.spawn(name, command, self.environment(name), self.home, log)
        return log

    def environment(self, kind: str) -> dict[str, str]:
        """What every process of the system gets, and by which it is known later."""
        return {
            **surroundings.bare(),
            "HOME": str(self.home),
            processes.HOME: str(self.home),
            processes.RUN_ID: self._run_id,
            processes.KIND: kind,
        }

    def _path(self, name: str) -> Path:
        return self.home / f"{name}.pid.json"

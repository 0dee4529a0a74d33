"""The processes of a system's parts: started, recorded, killed and ended, by whatever process attaches to the system.

What is known of them is on disk, one record a part, so that none of this depends on who started them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import msgspec
import psutil

from infra.fabric.process import deaths
from infra.fabric.process.deaths import Death
from infra.machine import processes
from infra.parts import PARTS
from infra.parts.base import Part
from infra.site import bus_layout, site
from infra.topology.model import Topology
from infra.wan import process as wan_process

SUPERVISOR = "supervisor"
"""What the process of `infra.fabric.process.supervisor` is called."""
_HELPERS = (wan_process.NAME, SUPERVISOR)
"""Processes that are no nodes. When one dies nothing starts it again: a namespace that is lost stays lost."""
_STOP_WITHIN_S = 12.0
_TAIL_LINES = 12


class StartError(Exception):
    """The system did not start: which part, what it waited for, the end of its log."""


class PartProcesses:
    """The parts of a system as processes of this machine."""

    def __init__(self, where: site.Site, topology: Topology) -> None:
        self.site = where
        self.place = site.Place(where, topology)
        self.parts: dict[str, Part] = {node.name: PARTS[node.kind](self.place, node) for node in self.place.all_nodes()}

    def locked(self, name: str) -> AbstractContextManager[None]:
        """Nobody else starts the part or changes its record meanwhile."""
        return processes.locked(self.site.path / f"{name}.lock")

    def start_part(self, name: str) -> None:
        """Start one part (again); does not wait for it. Nothing happens if it runs."""
        with self.locked(name):
            if not self.alive(name):
                self._start(name)

    def restart_part(self, name: str) -> bool:
        """Start a part that is meant to run and does not; whether there was anything to start."""
        with self.locked(name):
            if not self.wanted(name) or self.alive(name):
                return False
            self._start(name)
            return True

    def inside(self, region: str) -> list[str]:
        """What to put before a command, so that it runs inside a region; nothing where regions are not apart.
        The command's pid is that of the process that is started with it."""
        if not self.site.apart:
            return []
        pid = self.pid(wan_process.NAME)
        if pid is None:
            raise StartError("the network between the regions has ended: end the system with ./covenant down")
        return wan_process.enter(pid, list(self.place.topology.regions).index(region))

    def kill(self, name: str) -> list[int]:
        """SIGKILL a part with everything that it started, as when its node is lost: it stays dead until it is started
        again. The pids that were hit."""
        with self.locked(name):
            self._mark(name, wanted=False)
        return self.kill_rest(name)

    def kill_all(self, names: Sequence[str]) -> list[int]:
        """SIGKILL several parts at one instant, as when a region is lost; otherwise as `kill`."""
        for name in names:
            with self.locked(name):
                self._mark(name, wanted=False)
        found = [process for name in names for process in processes.tree(processes.find(self.record(name)))]
        hit: dict[int, None] = {}
        deadline = time.monotonic() + 5
        while found and time.monotonic() < deadline:
            hit.update(dict.fromkeys(process.pid for process in found))
            processes.send(found, signal.SIGKILL)
            processes.wait_gone(found, 2)
            found = [process for name in names for process in processes.of_folder(self.parts[name].folder)]
        return list(hit)

    def crash(self, name: str) -> int | None:
        """SIGKILL a part's own process and nothing that it started, as when a program crashes: a supervisor fences what
        is left and starts it again. The pid that was hit."""
        with self.locked(name):
            process = processes.find(self.record(name))
            if process is None:
                return None
            self._mark(name, struck=True)
            processes.send([process], signal.SIGKILL)
            processes.wait_gone([process], 5)
            return process.pid

    def kill_rest(self, name: str) -> list[int]:
        """SIGKILL whatever processes a part has; the pids that were hit."""
        first = processes.of_folder(self.parts[name].folder)
        processes.send(first, signal.SIGKILL)
        hit = {process.pid: None for process in first}
        deadline = time.monotonic() + 5
        while True:
            # Again until nothing is left: a parent may have forked between the look and the signal.
            found = self._processes(name)
            if not found or time.monotonic() > deadline:
                return list(hit)
            hit.update(dict.fromkeys(process.pid for process in found))
            processes.send(found, signal.SIGKILL)
            processes.wait_gone(found, 2)

    def is_gone(self, name: str) -> bool:
        """Whether no process of a part is left, not even one that lost its parent."""
        return not self._processes(name)

    def alive(self, name: str) -> bool:
        return processes.find(self.record(name)) is not None

    def record(self, name: str) -> processes.Record | None:
        return processes.read_record(self._record_path(name))

    def wanted(self, name: str) -> bool:
        """Whether the part is meant to run: False once somebody of ours killed it."""
        record = self.record(name)
        return record is not None and record.wanted

    def expected(self, name: str) -> bool:
        """Whether the system lacks something without the part: of a kind with standbys one works at a time."""
        return bus_layout.works(self.place, self.parts[name].node)

    def deaths(self) -> list[Death]:
        """Every unplanned death: those that the supervisor saw, and parts that are meant to run and do not."""
        noted = [death for death in deaths.read(self.site.path) if not death.planned]
        known = {(death.part, death.created) for death in noted}
        for name in (*self.parts, *_HELPERS):
            record = self.record(name)
            if record is None or not record.wanted or record.struck or (name, record.created) in known:
                continue
            if processes.find(record) is None:
                noted.append(Death(part=name, created=record.created, at_ns=time.monotonic_ns()))
        return noted

    def pid(self, name: str) -> int | None:
        process = processes.find(self.record(name))
        return process.pid if process else None

    def environment(self, part: Part) -> dict[str, str]:
        """With what a part is started: some of it is secret."""
        return {**self._common_environment(part.kind), "HOME": str(part.folder), **part.environment()}

    # For who puts a system together of them.

    def _start(self, name: str) -> None:
        part = self.parts[name]
        part.before_start()
        command = [*self.inside(part.node.region), *part.command()]
        if part.refuses_root and not self.site.apart:
            command = [*self.site.demotion.prefix, *command]
            if self.site.demotion.owner is not None:
                _give(part.folder, self.site.demotion.owner)
        self._spawn(name, command, self.environment(part), part.folder, part.folder / "log")

    def _spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        with log.open("ab") as file:
            child = processes.spawn(command, environment=environment, folder=folder, log=file)
        processes.write_record(self._record_path(name), processes.record(child.pid))
        # From here on it is known by its record, to any process, and may outlive this one: not Popen's to wait for.
        child.returncode = 0

    def _start_helper(self, name: str, module: str) -> Path:
        """A process that belongs to the system and is no node; its log."""
        home = self.site.path
        log = home / f"{name}.log"
        self._spawn(name, [sys.executable, "-m", module, str(home)], self._common_environment(name), home, log)
        return log

    def _record_path(self, name: str) -> Path:
        return self.site.path / f"{name}.pid.json"

    def _mark(self, name: str, *, wanted: bool = True, struck: bool = False) -> None:
        """Write down what becomes of a process before it does."""
        record = self.record(name)
        if record is not None and record.wanted:
            marked = msgspec.structs.replace(record, wanted=wanted, struck=record.struck or struck)
            processes.write_record(self._record_path(name), marked)

    def _common_environment(self, kind: str) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            processes.HOME: str(self.site.path),
            processes.RUN_ID: self.site.run_id,
            processes.KIND: kind,
        }

    def _named(self, *kinds: str) -> list[Part]:
        return [part for part in self.parts.values() if part.kind in kinds]

    def _end(self, parts: Sequence[Part]) -> None:
        found = {part.name: self._processes(part.name) for part in parts}
        for part in parts:
            part.stop(found[part.name])
        left = processes.wait_gone([one for each in found.values() for one in each], _STOP_WITHIN_S)
        processes.send(left, signal.SIGKILL)
        processes.wait_gone(left, 5)

    def _processes(self, name: str) -> list[psutil.Process]:
        """A part's living processes, those too that it left to themselves when it died (a postmaster)."""
        own = processes.tree(processes.find(self.record(name)))
        known = {process.pid for process in own}
        folder = self.parts[name].folder
        orphans = [process for process in processes.of_home(self.site.path) if _has_home(process, folder)]
        for process in [*orphans, *processes.of_folder(folder)]:
            if process.pid not in known:
                own.extend(other for other in processes.tree(process) if other.pid not in known)
                known.update(other.pid for other in own)
        return own


def _has_home(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.environ().get("HOME") == str(folder)
    return False


def _give(folder: Path, owner: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, owner, follow_symlinks=False)


def log_tail(log: Path) -> str:
    """Its last lines, indented."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])

"""The processes of a system's parts: started, killed, frozen and ended, by any process that attaches to the system."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psutil

from infra.fabric.process import deaths
from infra.fabric.process.network import RegionNetwork
from infra.fabric.process.table import ProcessTable
from infra.fabric.protocol import Death, PartState
from infra.machine import processes
from infra.parts import PARTS
from infra.parts.base import Part
from infra.site import bus_layout, site
from infra.topology.model import Topology, kept_in
from infra.wan import process as wan_process

SUPERVISOR = "supervisor"
"""What the process of `infra.fabric.process.supervisor` is called."""
_HELPERS = (wan_process.NAME, SUPERVISOR)
"""Processes that are no nodes. When one dies nothing starts it again: a namespace that is lost stays lost."""
_STOP_WITHIN_S = 12.0
_STOPPED_WITHIN_S = 1.0
"""A signal takes effect when its process is next scheduled."""


class PartProcesses:
    """The parts of a system as processes of this machine."""

    def __init__(self, where: site.Site, topology: Topology) -> None:
        self.site = where
        self.place = site.Place(where, topology)
        self.parts: dict[str, Part] = {node.name: PARTS[node.kind](self.place, node) for node in self.place.all_nodes()}
        self.table = ProcessTable(where.path, where.run_id)
        self.network = RegionNetwork(where, topology, self.table)

    @classmethod
    def attach(cls, home: Path) -> PartProcesses:
        """Those of the system whose home this is. FileNotFoundError if there is none."""
        return cls(site.read(home), kept_in(home))

    def locked(self, name: str) -> AbstractContextManager[None]:
        """No other process starts the part or changes its record meanwhile."""
        return self.table.locked(name)

    def start_part(self, name: str) -> None:
        """Start one part (again); does not wait for it. Nothing happens if it runs."""
        with self.locked(name):
            if not self.table.alive(name):
                self._start(name)

    def revive(self, name: str) -> bool:
        """Start a part that is meant to run and does not; whether there was anything to start."""
        with self.locked(name):
            if not self.table.wanted(name) or self.table.alive(name):
                return False
            self._start(name)
            return True

    def kill(self, *names: str) -> int:
        """SIGKILL parts with everything that they started, at one instant, as when their nodes are lost: they stay dead
        until they are started again. How many processes were hit."""
        for name in names:
            with self.locked(name):
                self.table.mark(name, wanted=False)
        if len(names) == 1:
            return len(self.kill_rest(names[0]))
        # Orphans are searched for in a second round: the search takes time, and the recorded processes are to die at
        # one instant.
        found = [process for name in names for process in processes.tree(processes.find(self.table.record(name)))]
        hit: set[int] = set()
        deadline = time.monotonic() + 5
        while found and time.monotonic() < deadline:
            hit.update(process.pid for process in found)
            processes.send(found, signal.SIGKILL)
            processes.wait_gone(found, 2)
            found = [process for name in names for process in processes.of_folder(self.parts[name].folder)]
        return len(hit)

    def pause(self, *names: str) -> int:
        """SIGSTOP parts with everything that they started, as when their hosts hang. How many processes stand still.

        A part's own process first: who wants to catch it at an instant must not wait for the search for its children.
        """
        processes.send(filter(None, (processes.find(self.table.record(name)) for name in names)), signal.SIGSTOP)
        stopped: dict[int, None] = {}
        while True:
            # Again until no more are found: one that was not stopped yet may have forked.
            found = [one for name in names for one in self._processes(name) if one.pid not in stopped]
            if not found:
                return len(stopped)
            processes.send(found, signal.SIGSTOP)
            processes.wait_stopped(found, _STOPPED_WITHIN_S)
            stopped.update(dict.fromkeys(one.pid for one in found))

    def resume(self, *names: str) -> None:
        """SIGCONT parts with everything that they started, in the order in which they were started."""
        for name in names:
            processes.send(self._processes(name), signal.SIGCONT)

    def let_run(self, name: str, for_s: float) -> tuple[int, float] | None:
        """SIGCONT a part's own process, and SIGSTOP it after `for_s`: (the instant just before, for how long it ran).
        None if it has ended."""
        process = processes.find(self.table.record(name))
        if process is None:
            return None
        processes.send([process], signal.SIGCONT)
        begin_ns = time.monotonic_ns()
        time.sleep(for_s)
        at_ns = time.monotonic_ns()
        processes.send([process], signal.SIGSTOP)
        processes.wait_stopped([process], _STOPPED_WITHIN_S)
        return at_ns, (at_ns - begin_ns) / 1e9

    def restart(self, *names: str) -> None:
        """Kill parts, then start them; does not wait for them."""
        for name in names:
            self.kill(name)
        for name in names:
            self.start_part(name)

    def reload(self, name: str) -> None:
        """Send a part's own process the signal on which it reads its configuration again, if it has one."""
        process = processes.find(self.table.record(name))
        if process is not None and (number := self.parts[name].reload_signal) is not None:
            processes.send([process], number)

    def crash(self, name: str) -> bool:
        """SIGKILL a part's own process and nothing that it started, as when a program crashes: a supervisor fences what
        is left and starts it again. False if it did not run."""
        with self.locked(name):
            process = processes.find(self.table.record(name))
            if process is None:
                return False
            self.table.mark(name, crashed=True)
            processes.send([process], signal.SIGKILL)
            processes.wait_gone([process], 5)
            return True

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

    def state(self, name: str) -> PartState:
        process = processes.find(self.table.record(name))
        if process is None:
            return "dead"
        return "paused" if processes.is_stopped(process) else "running"

    def started_at(self, name: str) -> float | None:
        """When a part's living process was started, in seconds since 1970."""
        record = self.table.record(name)
        return record.created if record is not None and processes.find(record) is not None else None

    def expected(self, name: str) -> bool:
        """Whether the system lacks something without the part: of a kind with standbys one works at a time."""
        return bus_layout.works(self.place, self.parts[name].node)

    def deaths(self) -> list[Death]:
        """Every unplanned death: those that the supervisor saw, and parts that are meant to run and do not."""
        noted = [death for death in deaths.read(self.site.path) if not death.planned]
        known = {(death.part, death.created) for death in noted}
        for name in (*self.parts, *_HELPERS):
            record = self.table.record(name)
            if record is None or not record.wanted or record.crashed or (name, record.created) in known:
                continue
            if processes.find(record) is None:
                noted.append(Death(part=name, created=record.created, at_ns=time.monotonic_ns()))
        return noted

    def environment(self, part: Part) -> dict[str, str]:
        """With what a part is started: some of it is secret."""
        return {**self.table.environment(part.kind), "HOME": str(part.folder), **part.environment()}

    # For the system that is composed of them.

    def _start(self, name: str) -> None:
        part = self.parts[name]
        part.before_start()
        command = [*self.network.inside(part.node.region), *part.command()]
        if part.refuses_root and not self.site.apart:
            command = [*self.site.unprivileged.prefix, *command]
            if self.site.unprivileged.owner is not None:
                _give(part.folder, self.site.unprivileged.owner)
        self.table.spawn(name, command, self.environment(part), part.folder, part.folder / "log")

    def named(self, *kinds: str) -> list[Part]:
        return [part for part in self.parts.values() if part.kind in kinds]

    def end(self, parts: Sequence[Part]) -> None:
        found = {part.name: self._processes(part.name) for part in parts}
        for part in parts:
            asked = part.stop_signals([process.pid for process in found[part.name]])
            for process in found[part.name]:
                if process.pid in asked:
                    processes.send([process], asked[process.pid])
        left = processes.wait_gone([one for each in found.values() for one in each], _STOP_WITHIN_S)
        processes.send(left, signal.SIGKILL)
        processes.wait_gone(left, 5)

    def _processes(self, name: str) -> list[psutil.Process]:
        """A part's living processes, orphans too (a postmaster whose Patroni died)."""
        own = processes.tree(processes.find(self.table.record(name)))
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

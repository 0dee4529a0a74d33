"""The process fabric: every part a process on this machine, without root and without Docker.

A system's state is on disk (`infra.site`, one pid file a part), not in the starter's memory: any process
can attach to it, kill a part, start it again, or end the whole after its starter was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import MappingProxyType

import msgspec
import psutil

from infra import bus_layout, bus_users, certificates, clients, deaths, demote, ports, processes, site, target
from infra.deaths import Death
from infra.fabric import description
from infra.options import DEFAULTS, Options
from infra.parts import PARTS
from infra.parts import covenant as covenant_parts
from infra.parts import mirror as mirror_part
from infra.parts import nats as nats_part
from infra.parts import postgres as postgres_part
from infra.parts.base import Part
from infra.progress import Report
from infra.topology import Topology, kept_in
from infra.topology import load as load_topology
from infra.wan import probe as wan_probe
from infra.wan import process as wan_process
from system.settings import variable

_STOP_WITHIN_S = 12.0
_START_WITHIN_S = 120.0
_POLL_S = 0.1
_ASKED_AT_ONCE = 16
_OWN = tuple(part.kind for part in covenant_parts.COVENANT)
"""Kinds that are the system's own processes: they start last and end first."""
SUPERVISOR = "supervisor"
"""What the process of `infra.supervisor` is called."""
_HELPERS = (wan_process.NAME, SUPERVISOR)
"""Processes that are no nodes. When one dies nothing starts it again: a namespace that is lost stays lost."""


class StartError(Exception):
    """The system did not start: which part, what it waited for, the end of its log."""


class System:
    """A system on this machine, started by us or found."""

    def __init__(self, where: site.Site, topology: Topology) -> None:
        self.site = where
        self.place = site.Place(where, topology)
        self.parts: dict[str, Part] = {node.name: PARTS[node.kind](self.place, node) for node in self.place.all_nodes()}
        self._block: ports.PortBlock | None = None

    # Life.

    @classmethod
    def create(
        cls, home: Path, *, run_id: str, size: str, plant: Mapping[str, Mapping[str, str]], projects: int = 300,
        options: Options = DEFAULTS,
    ) -> System:  # fmt: skip
        """Lay a system out in `home`, with ports and secrets of its own; nothing runs yet, and nothing is left if
        it cannot be.

        Raises infra.topology.TopologyError, infra.ports.NoPorts, infra.demote.CannotDemote,
        infra.parts.base.MissingPart, OSError.
        """
        topology = load_topology()
        topology.check_kinds(PARTS)
        nodes = topology.nodes(size, options.bus)
        names = [f"{node.name}.{port}" for node in nodes for port in PARTS[node.kind].port_names]
        with ExitStack() as undo:
            home.mkdir(parents=True, mode=0o700)
            undo.callback(shutil.rmtree, home, ignore_errors=True)
            processes.write_record(home / "owner.json", processes.own_record())
            topology.keep(home)
            block = ports.claim()
            undo.callback(block.close)
            where = site.create(
                home, run_id=run_id, size=size, ports=block.assign(names), demotion=demote.find(home),
                clients=clients.new_secrets(topology.regions), plant=plant, projects=projects,
                options=options, apart=options.distance == "on" and wan_probe.refusal() is None,
            )  # fmt: skip
            clients.write_users(where.users_file, where.clients)
            system = cls(where, topology)
            for part in system.parts.values():
                part.command()  # Looks for its program: better missed now than in the middle of the start.
            undo.pop_all()
        system._block = block
        return system

    @classmethod
    def attach(cls, home: Path) -> System:
        """The system whose home this is. FileNotFoundError if there is none."""
        return cls(site.read(home), kept_in(home))

    def start(self, progress: Report) -> None:
        """Start every part in order and wait until all are ready and redundant.

        StartError names what it waited for; what was started stays until `stop`.
        """
        deadline = time.monotonic() + _START_WITHIN_S
        if self.site.options.tls == "on":
            certificates.issue(self.place)
        for part in self.parts.values():
            part.folder.mkdir(exist_ok=True)
            part.prepare()
        if self.site.apart:
            progress(0.01, "setting the regions apart")
            self._start_wan()
        first = self._named("etcd", "nats", "mirror", "gateway", "valkey", "s3")
        progress(0.02, "starting etcd, NATS, Valkey, S3")
        for part in first:
            self.start_part(part.name)
        self.wait_ready(self._named("etcd"), deadline)
        progress(0.15, "starting PostgreSQL's primary")
        leader, *followers = self._named("postgres", "archiver")
        self.start_part(leader.name)
        self.wait_ready([leader], deadline)
        self._wait("PostgreSQL's primary to take its lease", self._lacks_primary, deadline)
        postgres_part.create_roles(self.place)
        progress(0.4, "starting PostgreSQL's replicas, loading countries and projects")
        for part in followers:
            self.start_part(part.name)
        self.run_once("system.store.migrate", role="owner")
        progress(0.6, "waiting for NATS, Valkey, S3; creating streams")
        self.wait_ready(first, deadline)
        self.run_once("system.events.streams", role="app")
        if bus_layout.mirrored(self.place):
            self.make_mirrors(list(bus_layout.followers(self.place)))
        progress(0.7, "starting the APIs, the relay and the consumers")
        own = [part for part in self._named(*_OWN) if bus_layout.works(self.place, part.node)]
        for part in own:
            self.start_part(part.name)
        self.wait_ready([*followers, *own], deadline)
        progress(0.95, "waiting for full redundancy")
        self._wait("PostgreSQL to be redundant", lambda: postgres_part.missing_redundancy(self.place), deadline)
        postgres_part.checkpoint_all(self.place)
        self.write_target()
        if self.site.options.supervisor == "on":
            self._start_helper(SUPERVISOR, "infra.supervisor")
        progress(1.0, "the system is ready")

    def stop(self) -> None:
        """End every process of the system and remove what it left outside its home; never raises for a part
        that is already gone. The home folder itself stays, for its logs: `remove` deletes it."""
        self._end_supervisor()
        for part in self.parts.values():
            with self.locked(part.name):
                self._mark(part.name, wanted=False)
        own = self._named(*_OWN)
        self._end(own)
        self._end([part for part in self.parts.values() if part not in own])
        self._mark(wan_process.NAME, wanted=False)
        left = processes.of_home(self.site.path)
        processes.send(left, signal.SIGKILL)
        processes.wait_gone(left, 5)
        for part in self.parts.values():
            part.after_stop()
        if self._block is not None:
            self._block.close()

    def remove(self) -> None:
        """Delete the home folder."""
        shutil.rmtree(self.site.path, ignore_errors=True)

    # Parts.

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

    def wait_ready(self, parts: Iterable[Part], deadline: float) -> None:
        """Wait until every part is ready. StartError at the deadline (time.monotonic) or when one ends."""
        waiting = list(parts)
        if not waiting:
            return
        with ThreadPoolExecutor(len(waiting)) as pool:
            list(pool.map(lambda part: self._wait_one(part, deadline), waiting))

    def missing(self, waiting: Mapping[str, str] | None = None) -> list[str]:
        """What the system lacks of full redundancy, one condition an entry; empty when it lacks nothing.
        `waiting` is what `waiting()` has just said, for who has asked already."""
        dead = [f"{name} to run" for name in self.parts if self.expected(name) and not self.alive(name)]
        asked = self.waiting() if waiting is None else waiting
        unready = [f"{name}: {what}" for name, what in asked.items()]
        copies = (
            postgres_part.missing_redundancy(self.place), nats_part.missing_redundancy(self.place),
            mirror_part.missing(self.place),
        )  # fmt: skip
        return [*dead, *unready, *filter(None, copies)]

    def waiting(self) -> dict[str, str]:
        """Living parts that are not ready, and what each waits for, in words."""
        living = [part for part in self.parts.values() if self.alive(part.name)]
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            answers = list(pool.map(lambda part: part.waiting_for(), living))
        return {part.name: what for part, what in zip(living, answers, strict=True) if what}

    # What others need to know.

    @property
    def target_path(self) -> Path:
        """The file that names this system to other processes; there once it is ready."""
        return self.site.path / target.FILE

    def target(self) -> target.Target:
        """What a program of this machine needs to know of it."""
        return description.of(self.place, enter={region: self.inside(region) for region in self._entered()})

    def write_target(self) -> None:
        """Tell other processes how to reach this system as it is now."""
        outside = self.target()
        target.write(outside, self.target_path)
        if self.site.apart:
            inside = description.from_inside(outside, self.place)
            target.write(inside, target.inside_path(self.target_path))

    def versions(self) -> dict[str, str]:
        """Versions of the components, by kind."""
        return {kind: PARTS[kind].version() for kind in dict.fromkeys(part.kind for part in self.parts.values())}

    def keep_logs(self, folder: Path) -> None:
        """Copy configuration and logs as they ran, without the secrets, for a run's evidence."""
        folder.mkdir(parents=True, exist_ok=True)
        hidden = self.site.hidden()
        kept = {path.name: path for path in self.site.path.glob("*.log")}
        for part in self.parts.values():
            for name in ("log", "nats.json", "patroni.yml", "valkey.conf"):
                kept[f"{part.name}.{name}"] = part.folder / name
        for name, source in kept.items():
            if source.is_file():
                text = source.read_text(errors="replace")[-_LOG_KEPT:]
                for value in hidden:
                    text = text.replace(value, "***")
                (folder / name).write_text(text)

    # Inside.

    def _start(self, name: str) -> None:
        part = self.parts[name]
        part.before_start()
        command = [*self.inside(part.node.region), *part.command()]
        if part.refuses_root and not self.site.apart:
            command = [*self.site.demotion.prefix, *command]
            if self.site.demotion.owner is not None:
                _give(part.folder, self.site.demotion.owner)
        self._spawn(name, command, self._environment(part), part.folder, part.folder / "log")

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

    def _entered(self) -> list[str]:
        """The regions that a program can be started in."""
        return self.place.topology.running_regions(self.site.size) if self.alive(wan_process.NAME) else []

    def _start_wan(self) -> None:
        log = self._start_helper(wan_process.NAME, "infra.wan")
        deadline = time.monotonic() + wan_process.READY_WITHIN_S
        while not wan_process.ready(self.site.path):
            if not self.alive(wan_process.NAME) or time.monotonic() > deadline:
                raise StartError(f"the network between the regions did not start\n{_tail(log)}")
            time.sleep(_POLL_S)

    def _end_supervisor(self) -> None:
        """Before anything else ends, or it would be started again."""
        self._mark(SUPERVISOR, wanted=False)
        found = processes.tree(processes.find(self.record(SUPERVISOR)))[:1]
        processes.send(found, signal.SIGKILL)
        processes.wait_gone(found, 5)

    def _named(self, *kinds: str) -> list[Part]:
        return [part for part in self.parts.values() if part.kind in kinds]

    def _record_path(self, name: str) -> Path:
        return self.site.path / f"{name}.pid.json"

    def _mark(self, name: str, *, wanted: bool = True, struck: bool = False) -> None:
        """Write down what becomes of a process before it does."""
        record = self.record(name)
        if record is not None and record.wanted:
            marked = msgspec.structs.replace(record, wanted=wanted, struck=record.struck or struck)
            processes.write_record(self._record_path(name), marked)

    def _environment(self, part: Part) -> dict[str, str]:
        return {**self._common_environment(part.kind), "HOME": str(part.folder), **part.environment()}

    def _common_environment(self, kind: str) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            processes.HOME: str(self.site.path),
            processes.RUN_ID: self.site.run_id,
            processes.KIND: kind,
        }

    def make_mirrors(self, regions: Sequence[str]) -> None:
        """Have regions keep a mirror of each stream of the bus. StartError."""
        what = {
            **mirror_part.settings(self.place, regions),
            # As many as its region has servers for, whatever the bus has.
            "stream_replicas": str(covenant_parts.STREAM_REPLICAS),
        }
        more = {variable(name): value for name, value in what.items()}
        self.run_once("system.events.mirrors", role="app", more=more)

    def run_once(
        self, module: str, *, role: str, region: str | None = None, bus_user: str = bus_users.STREAMS_ADMIN,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Run a one-shot module of the system in a region, the active one if none is named, with `more` in its
        environment. StartError with the end of its log."""
        region = region or bus_layout.active_region(self.place)
        environment = {
            **self._common_environment(module),
            **covenant_parts.tool_settings(self.place, region, role, bus_user),
            **more,
        }
        log = self.site.path / f"{module}.log"
        with log.open("ab") as file:
            try:
                done = subprocess.run(
                    [*self.inside(region), sys.executable, "-m", module], env=environment, cwd=self.site.path,
                    timeout=60, check=False,
                    stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise StartError(f"{module} did not end within 60 s\n{_tail(log)}") from None
        if done.returncode != 0:
            raise StartError(f"{module} ended with exit code {done.returncode}\n{_tail(log)}")

    def run_tool(self, module: str, arguments: Sequence[str]) -> int:
        """Run a command of the system in the active region, its output passed through; its exit code."""
        region = bus_layout.active_region(self.place)
        environment = {
            **self._common_environment(module),
            **covenant_parts.tool_settings(self.place, region, bus_user=bus_users.LETTERS_ADMIN),
            **covenant_parts.s3_settings(self.place),
        }
        command = [*self.inside(region), sys.executable, "-m", module, *arguments]
        return subprocess.run(command, env=environment, cwd=self.site.path, check=False).returncode

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

    def _end(self, parts: Sequence[Part]) -> None:
        found = {part.name: self._processes(part.name) for part in parts}
        for part in parts:
            part.stop(found[part.name])
        left = processes.wait_gone([one for each in found.values() for one in each], _STOP_WITHIN_S)
        processes.send(left, signal.SIGKILL)
        processes.wait_gone(left, 5)

    def _lacks_primary(self) -> str | None:
        return None if postgres_part.primary(self.place) else "nobody has it"

    def _wait(self, what: str, lacks: Callable[[], str | None], deadline: float) -> None:
        while missing := lacks():
            if time.monotonic() > deadline:
                raise StartError(f"waited too long for {what}: it lacks {missing}")
            time.sleep(_POLL_S)

    def _wait_one(self, part: Part, deadline: float) -> None:
        deadline = min(deadline, time.monotonic() + part.ready_within_s)
        while missing := part.waiting_for():
            if not self.alive(part.name):
                raise StartError(f"{part.name} ended while it was waited for\n{_tail(part.folder / 'log')}")
            if time.monotonic() > deadline:
                raise StartError(f"{part.name} is not ready: waited for {missing}\n{_tail(part.folder / 'log')}")
            time.sleep(_POLL_S)


def _has_home(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.environ().get("HOME") == str(folder)
    return False


def _give(folder: Path, owner: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, owner, follow_symlinks=False)


_LOG_KEPT = 200_000
_TAIL_LINES = 12


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])

"""The process fabric: every part a process on this machine, without root and without Docker.

A system's state is on disk (`infra.site.site`, one pid file a part), not in the starter's memory: any process
can attach to it, kill a part, start it again, or end the whole after its starter was killed.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from infra import target
from infra.fabric import description
from infra.fabric.process.parts import SUPERVISOR, PartProcesses, StartError, log_tail
from infra.machine import demote, ports, processes
from infra.machine.progress import Report
from infra.parts import PARTS
from infra.parts import covenant as covenant_parts
from infra.parts import mirror as mirror_part
from infra.parts import nats as nats_part
from infra.parts import postgres as postgres_part
from infra.parts.base import Part
from infra.site import bus_layout, bus_users, certificates, clients, site
from infra.topology.model import Topology, kept_in
from infra.topology.model import load as load_topology
from infra.topology.options import DEFAULTS, Options
from infra.wan import probe as wan_probe
from infra.wan import process as wan_process
from system.settings import variable

__all__ = ["StartError", "System"]

_START_WITHIN_S = 120.0
_POLL_S = 0.1
_ASKED_AT_ONCE = 16
_LOG_KEPT = 200_000
_OWN = tuple(part.kind for part in covenant_parts.COVENANT)
"""Kinds that are the system's own processes: they start last and end first."""


class System(PartProcesses):
    """A system on this machine, started by us or found."""

    def __init__(self, where: site.Site, topology: Topology) -> None:
        super().__init__(where, topology)
        self._block: ports.PortBlock | None = None

    # Life.

    @classmethod
    def create(
        cls, home: Path, *, run_id: str, size: str, plant: Mapping[str, Mapping[str, str]], projects: int = 300,
        options: Options = DEFAULTS,
    ) -> System:  # fmt: skip
        """Lay a system out in `home`, with ports and secrets of its own; nothing runs yet, and nothing is left if
        it cannot be.

        Raises infra.topology.model.TopologyError, infra.machine.ports.NoPorts, infra.machine.demote.CannotDemote,
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
        postgres_part.admit_load(self.place)
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
            self._start_helper(SUPERVISOR, "infra.fabric.process.supervisor")
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

    def _entered(self) -> list[str]:
        """The regions that a program can be started in."""
        return self.place.topology.running_regions(self.site.size) if self.alive(wan_process.NAME) else []

    def _start_wan(self) -> None:
        log = self._start_helper(wan_process.NAME, "infra.wan")
        deadline = time.monotonic() + wan_process.READY_WITHIN_S
        while not wan_process.ready(self.site.path):
            if not self.alive(wan_process.NAME) or time.monotonic() > deadline:
                raise StartError(f"the network between the regions did not start\n{log_tail(log)}")
            time.sleep(_POLL_S)

    def _end_supervisor(self) -> None:
        """Before anything else ends, or it would be started again."""
        self._mark(SUPERVISOR, wanted=False)
        found = processes.tree(processes.find(self.record(SUPERVISOR)))[:1]
        processes.send(found, signal.SIGKILL)
        processes.wait_gone(found, 5)

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
                raise StartError(f"{module} did not end within 60 s\n{log_tail(log)}") from None
        if done.returncode != 0:
            raise StartError(f"{module} ended with exit code {done.returncode}\n{log_tail(log)}")

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
                raise StartError(f"{part.name} ended while it was waited for\n{log_tail(part.folder / 'log')}")
            if time.monotonic() > deadline:
                raise StartError(f"{part.name} is not ready: waited for {missing}\n{log_tail(part.folder / 'log')}")
            time.sleep(_POLL_S)

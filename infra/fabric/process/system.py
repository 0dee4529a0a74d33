"""The process fabric: every part a process on this machine, without root and without Docker.

A system's state is on disk (`infra.site.site`, one pid file a part), not in the starter's memory: any process
can attach to it, kill a part, start it again, or end the whole after its starter was killed.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from infra import target as targets
from infra.fabric import description
from infra.fabric.process import logs
from infra.fabric.process.parts import SUPERVISOR, PartProcesses
from infra.fabric.process.start_order import ORDER, OWN, Stage, Task
from infra.fabric.process.tools import Tools
from infra.fabric.protocol import Capability, Death, LinkState, PartState, StartError
from infra.machine import drop_privileges, ports, processes
from infra.machine.progress import Report
from infra.parts import PARTS
from infra.parts import mirror as mirror_part
from infra.parts import nats as nats_part
from infra.parts import postgres as postgres_part
from infra.parts.base import Part
from infra.site import bus_layout, certificates, clients, site
from infra.site.bus_users import STREAMS_ADMIN
from infra.target import Target
from infra.topology.model import Topology, kept_in
from infra.topology.model import load as load_topology
from infra.topology.options import DEFAULTS, Options
from infra.wan import probe as wan_probe
from infra.wan import process as wan_process
from infra.wan.links import Shape

_START_WITHIN_S = 120.0
_POLL_S = 0.1
_ASKED_AT_ONCE = 16


class System:
    """A system on this machine, started by us or found: `infra.fabric.protocol.Fabric`, made of its parts' processes,
    the network between its regions, and the tools that run in it once."""

    name = "process"

    def __init__(self, where: site.Site, topology: Topology) -> None:
        self.processes = PartProcesses(where, topology)
        self.site = where
        self.place = self.processes.place
        self.parts: Mapping[str, Part] = self.processes.parts
        self._network = self.processes.network
        self._tools = Tools(self.place, self.processes.table, self._network)
        self._block: ports.PortBlock | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        apart = {Capability.SHAPE_LINKS} if self.site.apart else set()
        return frozenset({Capability.PAUSE, Capability.PIDS, *apart})

    # Life.

    @classmethod
    def create(
        cls, home: Path, *, run_id: str, size: str, plant: Mapping[str, Mapping[str, str]], projects: int = 300,
        options: Options = DEFAULTS,
    ) -> System:  # fmt: skip
        """Lay a system out in `home`, with ports and secrets of its own; nothing runs yet, and nothing is left if
        it cannot be.

        Raises infra.topology.model.TopologyError, infra.machine.ports.NoPorts,
        infra.machine.drop_privileges.CannotDropPrivileges, infra.parts.base.MissingPart, OSError.
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
                home, run_id=run_id, size=size, ports=block.assign(names), unprivileged=drop_privileges.find(home),
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
            self._network.start()
        for stage in ORDER:
            progress(stage.fraction, stage.progress)
            self._pass(stage, deadline)
        self.write_target()
        if self.site.options.supervisor == "on":
            self.processes.table.start_helper(SUPERVISOR, "infra.fabric.process.supervisor")
        progress(1.0, "the system is ready")

    def stop(self) -> None:
        """End every process of the system and remove what it left outside its home; never raises for a part
        that is already gone. The home folder itself stays, for its logs: `remove` deletes it."""
        self._end_supervisor()
        for part in self.parts.values():
            with self.processes.locked(part.name):
                self.processes.table.mark(part.name, wanted=False)
        own = self.processes.named(*OWN)
        self.processes.end(own)
        self.processes.end([part for part in self.parts.values() if part not in own])
        self.processes.table.mark(wan_process.NAME, wanted=False)
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

    def missing(self, waiting: Mapping[str, str] | None = None) -> list[str]:
        """What the system lacks of full redundancy, one condition an entry; empty when it lacks nothing.
        `waiting` is what `waiting()` has just said, so that the parts are not asked twice."""
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

    def deaths(self) -> list[Death]:
        return self.processes.deaths()

    # Parts.

    def start_part(self, name: str) -> None:
        self.processes.start_part(name)

    def kill(self, *names: str) -> int:
        return self.processes.kill(*names)

    def crash(self, name: str) -> bool:
        return self.processes.crash(name)

    def pause(self, *names: str) -> int:
        return self.processes.pause(*names)

    def resume(self, *names: str) -> None:
        self.processes.resume(*names)

    def let_run(self, name: str, for_s: float) -> tuple[int, float] | None:
        return self.processes.let_run(name, for_s)

    def restart(self, *names: str) -> None:
        self.processes.restart(*names)

    def reload(self, name: str) -> None:
        self.processes.reload(name)

    def state(self, name: str) -> PartState:
        return self.processes.state(name)

    def alive(self, name: str) -> bool:
        return self.processes.table.alive(name)

    def is_gone(self, name: str) -> bool:
        return self.processes.is_gone(name)

    def wanted(self, name: str) -> bool:
        return self.processes.table.wanted(name)

    def expected(self, name: str) -> bool:
        return self.processes.expected(name)

    def started_at(self, name: str) -> float | None:
        return self.processes.started_at(name)

    def pid(self, name: str) -> int | None:
        return self.processes.table.pid(name)

    def wait_ready(self, parts: Iterable[Part], deadline: float) -> None:
        """Wait until every part is ready. StartError at the deadline (time.monotonic) or when one ends."""
        waiting = list(parts)
        if not waiting:
            return
        with ThreadPoolExecutor(len(waiting)) as pool:
            list(pool.map(lambda part: self._wait_one(part, deadline), waiting))

    # Regions.

    def inside(self, region: str) -> list[str]:
        return self._network.inside(region)

    def links(self) -> list[LinkState]:
        return self._network.links()

    def shape_link(self, source: str, target: str, shape: Shape) -> None:
        self._network.shape(source, target, shape)

    # What others need to know.

    @property
    def target_path(self) -> Path:
        return self.site.path / targets.FILE

    def target(self) -> Target:
        return self._described(self.place.outside)

    def write_target(self) -> None:
        """Write down how other processes reach this system as it is now, from outside and from inside its regions."""
        targets.write(self.target(), self.target_path)
        if self.site.apart:
            targets.write(self._described(self.place.endpoint), targets.inside_path(self.target_path))

    def versions(self) -> dict[str, str]:
        return {kind: PARTS[kind].version() for kind in dict.fromkeys(part.kind for part in self.parts.values())}

    def keep_logs(self, folder: Path) -> None:
        logs.keep(self.site.path, self.parts.values(), self.site.hidden(), folder)

    def make_mirrors(self, regions: Sequence[str]) -> None:
        self._tools.make_mirrors(regions)

    def run_once(
        self, module: str, *, role: str, region: str | None = None, bus_user: str = STREAMS_ADMIN,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._tools.run_once(module, role=role, region=region, bus_user=bus_user, more=more)

    def run_tool(
        self, module: str, arguments: Sequence[str], *, more: Mapping[str, str] = MappingProxyType({}),
        quiet: bool = False,
    ) -> int:  # fmt: skip
        return self._tools.run_tool(module, arguments, more=more, quiet=quiet)

    # Inside.

    def _described(self, reach: site.Reach) -> Target:
        return description.of(
            self.place,
            reach,
            enter={region: self.inside(region) for region in self._network.entered()},
            second_api=[sys.executable, "-m", "infra.fabric.process.second_api", str(self.site.path)],
        )

    def _pass(self, stage: Stage, deadline: float) -> None:
        for part in self._of(stage.starts, first_only=stage.first_only):
            self.start_part(part.name)
        self.wait_ready(self._of(stage.awaits, first_only=stage.first_only), deadline)
        for task in stage.tasks:
            self._do(task, deadline)

    def _of(self, kinds: Sequence[str], *, first_only: bool) -> list[Part]:
        """The parts of these kinds, without standbys."""
        found = [part for part in self.processes.named(*kinds) if self.expected(part.name)]
        return found[:1] if first_only else found

    def _do(self, task: Task, deadline: float) -> None:
        match task:
            case "await primary":
                self._wait("PostgreSQL's primary to take its lease", self._lacks_primary, deadline)
            case "create roles":
                postgres_part.create_roles(self.place)
            case "migrate":
                self.run_once("system.store.migrate", role="owner")
            case "admit load":
                postgres_part.admit_load(self.place)
            case "create streams":
                self.run_once("system.events.streams", role="app")
            case "create mirrors":
                if bus_layout.mirrored(self.place):
                    self.make_mirrors(list(bus_layout.followers(self.place)))
            case "await redundancy":
                self._wait("PostgreSQL to be redundant", lambda: postgres_part.missing_redundancy(self.place), deadline)
            case "checkpoint":
                postgres_part.checkpoint_all(self.place)

    def _end_supervisor(self) -> None:
        """Stop the supervisor first: it would restart whatever else is stopped."""
        table = self.processes.table
        table.mark(SUPERVISOR, wanted=False)
        found = processes.tree(processes.find(table.record(SUPERVISOR)))[:1]
        processes.send(found, signal.SIGKILL)
        processes.wait_gone(found, 5)

    def _lacks_primary(self) -> str | None:
        return None if postgres_part.primary(self.place) else "a member that has it"

    def _wait(self, what: str, lacks: Callable[[], str | None], deadline: float) -> None:
        while missing := lacks():
            if time.monotonic() > deadline:
                raise StartError(f"waited too long for {what}: it lacks {missing}")
            time.sleep(_POLL_S)

    def _wait_one(self, part: Part, deadline: float) -> None:
        deadline = min(deadline, time.monotonic() + part.ready_within_s)
        while missing := part.waiting_for():
            log = part.folder / "log"
            if not self.alive(part.name):
                raise StartError(f"{part.name} ended while it was waited for\n{logs.log_tail(log)}")
            if time.monotonic() > deadline:
                raise StartError(f"{part.name} is not ready: waited for {missing}\n{logs.log_tail(log)}")
            time.sleep(_POLL_S)

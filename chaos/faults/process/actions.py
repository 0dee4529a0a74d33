"""Chaos Toolkit actions: injectors, and the undo of whatever they did.

Each injector finds its target as things stand now (who leads changes), writes the undo to the journal, strikes,
and notes what it hit and how things stood before. Its word is no proof that the fault bit:
`chaos.faults.process.probes` looks.

There are two ways to end a part, and the supervisor knows which was meant. `System.kill` is a node that is lost: all
its processes, and it stays dead until the undo starts it, however long the proof takes; the supervisor only gives a
lost primary's lease back. `System.crash` is a program that crashes: its own process alone, and the supervisor does its
work. Neither is a death that nobody planned, which would be evidence against the system.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psutil
from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration, Secrets

from chaos import running
from chaos.faults.process import instants, old_primary
from chaos.faults.process.hunt import hunt
from chaos.handover import Facts, Fault, Undone
from chaos.journal import RESTART, Journal, heal
from infra.fabric.process.system import System
from infra.parts import nats, postgres
from infra.topology.model import Node
from ledger.observe import bus

__all__ = [
    "kill_consumer_before_ack",
    "kill_database_primary",
    "kill_patroni_of_primary",
    "kill_relay_before_confirm",
    "kill_stream_leader",
    "restart_what_was_killed",
]


def kill_database_primary(
    experiment: str, configuration: Configuration = None, secrets: Secrets = None
) -> dict[str, Any]:
    """SIGKILL the node that is PostgreSQL's primary now: Patroni and PostgreSQL together, as when a host is lost. It
    stays dead until it is undone, supervisor or not."""
    system = running.system()
    node, timeline = _primary(system)
    return _kill(system, experiment, node.name, f"{node.name}, primary on timeline {timeline}", timeline=timeline)


def kill_patroni_of_primary(
    experiment: str, configuration: Configuration = None, secrets: Secrets = None
) -> dict[str, Any]:
    """SIGKILL the Patroni of the primary and nothing else, as when it crashes: its PostgreSQL goes on without a lease
    until somebody fences it. It is not marked to stay dead: a supervisor starts it again."""
    system = running.system()
    node, timeline = _primary(system)
    pid = _process(system, node.name).pid
    # What refuses now would refuse later for no better reason.
    if (refused := old_primary.try_write(system.place, node)) is not None:
        raise ActivityFailed(f"expected {node.name} to take a write at its own port while it leads, found: {refused}")
    Journal(system.site.path).begin(experiment, RESTART, {"part": node.name})
    at_ns = time.monotonic_ns()
    if system.crash(node.name) != pid:
        raise ActivityFailed(
            f"expected Patroni of {node.name} to run as {pid}; it has ended or is another process by now"
        )
    target = f"Patroni alone of {node.name}, primary on timeline {timeline}"
    return _note(system, experiment, at_ns, node.name, target, timeline=timeline, pid=pid)


def kill_stream_leader(
    experiment: str, stream: str, configuration: Configuration = None, secrets: Secrets = None
) -> dict[str, Any]:
    """SIGKILL the NATS node that leads a stream now."""
    system = running.system()
    state = nats.stream_states(system.place).get(stream)
    if state is None:
        raise ActivityFailed(f"expected a leader of {stream} to kill, found none: wait until the stream has one")
    return _kill(system, experiment, state["leader"], f"{state['leader']}, leader of {stream}")


def kill_consumer_before_ack(
    experiment: str,
    part: str,
    durable: str,
    within_s: int,
    configuration: Configuration = None,
    secrets: Secrets = None,
) -> dict[str, Any]:
    """SIGKILL a consumer between the commit of an event's effect and the acknowledgement of the event's message,
    without its help.

    Events must flow. If the instant is not caught within `within_s` it is killed all the same, and the probes
    will find nothing proven.
    """
    system = running.system()
    process = _process(system, part)
    Journal(system.site.path).begin(experiment, RESTART, {"part": part})
    at_ns, stands = asyncio.run(_hunt_consumer(system, process, durable, within_s))
    system.kill(part)
    delivered = stands.state.delivered
    return _note(
        system,
        experiment,
        at_ns,
        part,
        f"{part}, {_where(stands.in_gap, 'committed and not acknowledged')}",
        delivered_stream_seq=delivered.stream_seq,
        delivered_consumer_seq=delivered.consumer_seq,
    )


def kill_relay_before_confirm(
    experiment: str, part: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> dict[str, Any]:
    """SIGKILL the relay between the moment an event is stored and the moment it notes that, without its help.

    Otherwise as `kill_consumer_before_ack`.
    """
    system = running.system()
    process = _process(system, part)
    Journal(system.site.path).begin(experiment, RESTART, {"part": part})
    at_ns, stands = asyncio.run(_hunt_relay(system, process, within_s))
    system.kill(part)
    where = _where(stands.in_gap, "stored and not confirmed")
    return _note(system, experiment, at_ns, part, f"{part}, {where}")


def restart_what_was_killed(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> list[str]:
    """Undo whatever the experiment did and has not undone yet; nothing happens if there is nothing."""
    system = running.system()
    undone = heal(system, experiment)
    for what in undone:
        Facts(system.site.path).add(Undone(experiment=experiment, at_ns=time.monotonic_ns(), what=what))
    return undone


def _primary(system: System) -> tuple[Node, int]:
    """PostgreSQL's primary and its timeline. ActivityFailed if there is none."""
    node = postgres.primary(system.place)
    if node is None:
        raise ActivityFailed("expected a primary to kill, found none: wait until the cluster has one")
    return node, int(postgres.member_state(system.place, node).get("timeline", 0))


def _kill(system: System, experiment: str, part: str, target: str, **before: int) -> dict[str, Any]:
    Journal(system.site.path).begin(experiment, RESTART, {"part": part})
    at_ns = time.monotonic_ns()
    if not system.kill(part):
        raise ActivityFailed(f"expected {part} to run, found no process of it")
    return _note(system, experiment, at_ns, part, target, **before)


def _note(system: System, experiment: str, at_ns: int, part: str, target: str, **before: int) -> dict[str, Any]:
    fault = Fault(experiment=experiment, at_ns=at_ns, part=part, target=target, before=before)
    Facts(system.site.path).add(fault)
    return {"part": part, "target": target, "at_ns": at_ns, **before}


def _process(system: System, part: str) -> psutil.Process:
    pid = system.pid(part) if part in system.parts else None
    if pid is None:
        raise ActivityFailed(f"expected {part} to run, found no process of it among {', '.join(system.parts)}")
    return psutil.Process(pid)


async def _hunt_consumer(
    system: System, process: psutil.Process, durable: str, within_s: int
) -> tuple[int, instants.ConsumerStands]:
    target = system.target()
    async with bus.observer(target) as client:
        return await hunt(process, lambda: instants.consumer_stands(client, target, durable), within_s)


async def _hunt_relay(system: System, process: psutil.Process, within_s: int) -> tuple[int, instants.RelayStands]:
    target = system.target()
    async with bus.observer(target) as client, await instants.connect(target) as link:
        return await hunt(process, lambda: instants.relay_stands(client, link), within_s)


def _where(in_gap: tuple[str, int] | None, gap: str) -> str:
    if in_gap is None:
        return f"not caught with an event {gap}"
    partition, position = in_gap
    return f"while {partition} position {position} was {gap}"

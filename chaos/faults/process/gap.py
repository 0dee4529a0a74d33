"""A consumer, or the relay, dies in the gap between its effect and its note of it, which lasts milliseconds.

A consumer commits an event's effect, then acknowledges the event's message; the relay has an event stored, then notes
that. Events must flow for the gap to be caught. If it is not caught in time the process is killed all the same, and the
probes find nothing proven.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration
from nats.aio.client import Client

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.process import instants
from chaos.faults.process.hunt import hunt
from chaos.faults.process.kill import restart
from infra.fabric.protocol import Fabric
from infra.machine.waiting import until
from infra.target import Target
from ledger.observe import bus

__all__ = [
    "committed_event_is_unacknowledged",
    "events_were_redelivered",
    "kill_consumer_before_ack",
    "kill_relay_before_confirm",
    "stored_event_is_unconfirmed",
]

T = TypeVar("T")


def kill_consumer_before_ack(consumer: str, within_s: int, configuration: Configuration) -> dict[str, Any]:
    """Kill a consumer between the commit of an event's effect and the acknowledgement of the event's message, without
    its help. Of a consumer of every region it is the one beside the database."""
    activity = Activity(configuration)
    node = roles.beside_database(activity.system, consumer)
    durable = roles.durable(node)
    _prepare(activity, node.name)
    at_ns, stands = asyncio.run(_hunt_consumer(activity.system, node.name, durable, within_s))
    activity.system.kill(node.name)
    delivered = stands.state.delivered
    before = {"delivered_stream_seq": delivered.stream_seq, "delivered_consumer_seq": delivered.consumer_seq}
    where = _where(stands.in_gap, "committed and not acknowledged")
    return activity.injected(at_ns, node.name, f"{node.name}, {where}", before)


def kill_relay_before_confirm(within_s: int, configuration: Configuration) -> dict[str, Any]:
    """Kill the relay between the moment an event is stored and the moment it notes that, without its help."""
    activity = Activity(configuration)
    node = roles.beside_database(activity.system, "relay")
    _prepare(activity, node.name)
    at_ns, stands = asyncio.run(_hunt_relay(activity.system, node.name, within_s))
    activity.system.kill(node.name)
    where = _where(stands.in_gap, "stored and not confirmed")
    return activity.injected(at_ns, node.name, f"{node.name}, {where}", {})


def committed_event_is_unacknowledged(configuration: Configuration) -> bool:
    """Prove, while the consumer is dead, that it left an event whose effect is committed and not acknowledged."""
    activity = Activity(configuration)
    durable, target = _durable(activity), activity.system.target()

    async def look(client: Client) -> instants.ConsumerStands:
        async with instants.consumer_look(client, target, durable) as once:
            return await once()

    stands = _observe(target, look)
    return activity.prove(f"first event that {durable} has not acknowledged", "its effect is committed",
                          _gap(stands.in_gap), "its effect is not committed: the instant was not caught")  # fmt: skip


def stored_event_is_unconfirmed(configuration: Configuration) -> bool:
    """Prove, while the relay is dead, that the stream holds an event that the relay has not noted as stored."""
    activity = Activity(configuration)
    target = activity.system.target()

    async def look(client: Client) -> instants.RelayStands:
        async with await instants.connect(target) as link:
            return await instants.relay_stands(client, link)

    stands = _observe(target, look)
    return activity.prove("last events of the stream", "one that the relay has not confirmed", _gap(stands.in_gap),
                          "all are confirmed: the instant was not caught")  # fmt: skip


def events_were_redelivered(within_s: int, configuration: Configuration) -> bool:
    """Prove, after the restart, that events which had been delivered were delivered again: all deliveries since
    the kill, less the events that were new."""
    activity = Activity(configuration)
    before, durable, target = activity.fault().before, _durable(activity), activity.system.target()
    since = bus.Cursor(before["delivered_stream_seq"], before["delivered_consumer_seq"])

    def look() -> str | None:
        count = _observe(target, lambda client: instants.redelivered(client, durable, since))
        return f"{count} deliveries were repeats" if count > 0 else None

    return activity.prove(f"deliveries to {durable} since the kill", "repeats among them", until(look, within_s))


def _prepare(activity: Activity, part: str) -> None:
    if not activity.system.alive(part):
        raise ActivityFailed(f"expected {part} to run, found no process of it")
    activity.prepare(restart, part=part)


def _durable(activity: Activity) -> str:
    return roles.durable(activity.system.parts[activity.fault().part].node)


async def _hunt_consumer(system: Fabric, part: str, durable: str, within_s: int) -> tuple[int, instants.ConsumerStands]:
    target = system.target()
    async with bus.observer(target) as client, instants.consumer_look(client, target, durable) as look:
        return await hunt(system, part, look, within_s)


async def _hunt_relay(system: Fabric, part: str, within_s: int) -> tuple[int, instants.RelayStands]:
    target = system.target()
    async with bus.observer(target) as client, await instants.connect(target) as link:
        return await hunt(system, part, lambda: instants.relay_stands(client, link), within_s)


def _where(in_gap: tuple[str, int] | None, gap: str) -> str:
    if in_gap is None:
        return f"not caught with an event {gap}"
    partition, position = in_gap
    return f"while {partition} position {position} was {gap}"


def _gap(in_gap: tuple[str, int] | None) -> str | None:
    return None if in_gap is None else f"{in_gap[0]} position {in_gap[1]}"


def _observe(target: Target, look: Callable[[Client], Awaitable[T]]) -> T:
    async def observe() -> T:
        async with bus.observer(target) as client:
            return await look(client)

    return asyncio.run(observe())

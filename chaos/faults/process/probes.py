"""Chaos Toolkit probes: the steady state, proof that a fault bit, and recovery.

A proof is looked for in the components that the injector did not touch (another Patroni member, another NATS
node, the observer's view of stream and tables) and is written down whether it holds or not. A proof that does
not hold, or a wait that runs out, fails the activity with what was expected and what was found.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration, Secrets
from nats.aio.client import Client

from chaos import running
from chaos.faults.process import instants, old_primary
from chaos.faults.proving import fault_of, prove
from chaos.handover import Counted, Facts, Fault, Redundant
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.parts import nats, postgres
from infra.parts.base import http_get
from infra.site import clients
from infra.target import Target
from ledger.observe import bus
from ledger.observe.one_write import APPLIED, REGION, Refused, create_project, delete_project
from reports.evidence import Count
from system import wire

__all__ = [
    "another_node_leads_stream",
    "another_primary_leads",
    "apis_are_ready",
    "committed_event_is_unacknowledged",
    "event_goes_through",
    "events_were_redelivered",
    "leader_misses_dead_node",
    "old_primary_accepts_nothing",
    "patroni_is_gone",
    "port_refuses",
    "process_is_gone",
    "redundancy_is_complete",
    "stored_event_is_unconfirmed",
    "wait_for_redundancy",
]

T = TypeVar("T")
logger = logging.getLogger("chaostoolkit")

# The steady state. Each look is repeated for some seconds: a late answer of a busy machine is no deviation, and sixty
# parts take their time to be asked.


def apis_are_ready(within_s: int = 15, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Whether the API of every region says that it can do its work (`/healthz/ready`)."""
    urls = running.system().target().api.values()
    return until(lambda: all(http_get(url + wire.READY, 2)[0] == 200 for url in urls) or None, within_s) is True


def redundancy_is_complete(within_s: int = 15, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Whether every part runs, every PostgreSQL replica streams (one of them synchronous), every stream replica
    is current."""
    system = running.system()
    missing: list[str] = []

    def look() -> bool | None:
        missing[:] = system.missing()
        return None if missing else True

    if until(look, within_s):
        return True
    logger.warning("the system lacks %s", "; ".join(missing))
    return False


def event_goes_through(within_s: int = 15, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Whether a write passes every hop: a project is created, its event reaches analytics, the project is deleted."""
    system = running.system()
    return event_goes_through_at(system, system.target().regions[0], within_s)


def event_goes_through_at(system: System, region: str, within_s: float) -> bool:
    """The same, the write made at a region's API."""
    target = system.target()
    project = str(uuid.uuid4())
    try:
        base = target.api[region]
        token = clients.token(target, "steward", REGION)
        etag = create_project(base, token, project)
        with psycopg.connect(target.observer_dsn, autocommit=True) as link:
            applied = until(lambda: link.execute(APPLIED, [project]).fetchone(), within_s)
        delete_project(base, token, project, etag)
    except (Refused, clients.NoToken, OSError, psycopg.Error) as error:
        raise ActivityFailed(f"a write did not pass: {error!r}") from error
    return applied is not None


# Proof.


def port_refuses(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Prove that nobody listens any more on the client port of the node that was killed."""
    system, fault = fault_of(experiment)
    node = system.parts[fault.part].node
    place = system.place.outside(node, "client")
    host, _, port = place.rpartition(":")

    def look() -> str | None:
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return None
        except ConnectionRefusedError:
            return "connection refused"
        except OSError as error:
            return None if isinstance(error, TimeoutError) else str(error)

    found = until(look, 5)
    return prove(system, experiment, f"{place}, client port of {fault.part}", "connection refused", found)


def process_is_gone(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Prove that no process of the part that was killed is left."""
    system, fault = fault_of(experiment)
    found = until(lambda: None if system.alive(fault.part) else "no process", 5)
    return prove(system, experiment, f"processes of {fault.part}", "no process", found)


def patroni_is_gone(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Prove that the Patroni that was hit is dead, whether another one was started since or not."""
    system, fault = fault_of(experiment)
    pid = fault.before["pid"]

    def look() -> str | None:
        now = system.pid(fault.part)
        return None if now == pid else "gone" if now is None else f"gone, process {now} in its place"

    return prove(system, experiment, f"process {pid}, Patroni of {fault.part}", "gone", until(look, 5))


def another_primary_leads(
    experiment: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove that another member leads PostgreSQL on a higher timeline, by its own Patroni's word."""
    system, fault = fault_of(experiment)
    expected = f"a member other than {fault.part} on a timeline above {fault.before['timeline']}"
    found = until(lambda: _new_primary(system, fault), within_s)
    return prove(system, experiment, "PostgreSQL's primary", expected, found)


def old_primary_accepts_nothing(
    experiment: str, within_s: int, for_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Whether the old primary, asked at its own port, acknowledges no write from the moment that another member leads,
    for so long; `within_s` bounds the wait for that. One that it acknowledges is lost when it rejoins."""
    system, fault = fault_of(experiment)
    node = system.parts[fault.part].node
    tally = old_primary.watch(
        lambda: _new_primary(system, fault), lambda: old_primary.try_write(system.place, node), within_s, for_s
    )
    if tally is None:
        raise ActivityFailed(f"expected a member other than {fault.part} to lead within {within_s} s, found none")
    count = Count(
        row="recovery.rpo_loss",
        value=tally.accepted,
        unit=f"of {tally.tries} writes acknowledged",
        how=f"{experiment}: {fault.part} takes no write at its own port while {tally.leads} leads",
        ok=tally.accepted == 0,
    )
    Facts(system.site.path).add(Counted(experiment=experiment, at_ns=time.monotonic_ns(), count=count))
    if tally.accepted:
        raise ActivityFailed(f"{count.how}: expected none, found {tally.accepted} of {tally.tries} acknowledged")
    return True


def another_node_leads_stream(
    experiment: str, stream: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove that another NATS node leads the stream."""
    system, fault = fault_of(experiment)

    def look() -> str | None:
        leader = nats.stream_states(system.place).get(stream, {}).get("leader")
        return leader if leader not in (None, fault.part) else None

    return prove(system, experiment, f"leader of {stream}", f"another than {fault.part}", until(look, within_s))


def leader_misses_dead_node(
    experiment: str, stream: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove that the stream's leader counts the copy of the node that was killed as not current."""
    system, fault = fault_of(experiment)

    def look() -> str | None:
        replicas = nats.stream_states(system.place).get(stream, {}).get("replicas", [])
        state = next((peer for peer in replicas if peer["name"] == fault.part), {"current": True})
        return None if state.get("current") else f"not current, {state.get('lag', 0)} operations behind"

    what = f"copy of {stream} on {fault.part}, as its leader sees it"
    return prove(system, experiment, what, "not current", until(look, within_s))


def committed_event_is_unacknowledged(
    experiment: str, durable: str, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove, while the consumer is dead, that it left an event whose effect is committed and not acknowledged."""
    system, _ = fault_of(experiment)
    target = system.target()
    stands = _observe(target, lambda client: instants.consumer_stands(client, target, durable))
    return prove(system, experiment, f"first event that {durable} has not acknowledged", "its effect is committed",
                  _gap(stands.in_gap), "its effect is not committed: the instant was not caught")  # fmt: skip


def stored_event_is_unconfirmed(experiment: str, configuration: Configuration = None, secrets: Secrets = None) -> bool:
    """Prove, while the relay is dead, that the stream holds an event that the relay has not noted as stored."""
    system, _ = fault_of(experiment)
    target = system.target()

    async def look(client: Client) -> instants.RelayStands:
        async with await instants.connect(target) as link:
            return await instants.relay_stands(client, link)

    stands = _observe(target, look)
    return prove(system, experiment, "last events of the stream", "one that the relay has not confirmed",
                  _gap(stands.in_gap), "all are confirmed: the instant was not caught")  # fmt: skip


def events_were_redelivered(
    experiment: str, durable: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove, after the restart, that events which had been delivered were delivered again: all deliveries since
    the kill, less the events that were new."""
    system, fault = fault_of(experiment)
    since = bus.Cursor(fault.before["delivered_stream_seq"], fault.before["delivered_consumer_seq"])

    def look() -> str | None:
        count = _observe(system.target(), lambda client: instants.redelivered(client, durable, since))
        return f"{count} deliveries were repeats" if count > 0 else None

    return prove(
        system, experiment, f"deliveries to {durable} since the kill", "repeats among them", until(look, within_s)
    )


# Recovery.


def wait_for_redundancy(
    experiment: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Wait until everything that the fault took is there again."""
    system = running.system()
    if until(lambda: not system.missing() or None, within_s) is None:
        raise ActivityFailed(
            f"expected full redundancy within {within_s} s, still missing: {'; '.join(system.missing())}"
        )
    Facts(system.site.path).add(Redundant(experiment=experiment, at_ns=time.monotonic_ns()))
    return True


# Inside.


def _new_primary(system: System, fault: Fault) -> str | None:
    """The member that leads in place of the one that was hit, by its own Patroni's word."""
    for node in system.place.nodes(postgres.Postgres.kind):
        if node.name != fault.part:
            state = postgres.member_state(system.place, node)
            if state.get("role") in ("primary", "master") and int(state.get("timeline", 0)) > fault.before["timeline"]:
                return f"{node.name} on timeline {state['timeline']}"
    return None


def _gap(in_gap: tuple[str, int] | None) -> str | None:
    return None if in_gap is None else f"{in_gap[0]} position {in_gap[1]}"


def _observe(target: Target, look: Callable[[Client], Awaitable[T]]) -> T:
    async def observe() -> T:
        async with bus.observer(target) as client:
            return await look(client)

    return asyncio.run(observe())

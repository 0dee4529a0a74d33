"""Proof by the others that a leader is lost: another member leads PostgreSQL, another node a stream."""

from __future__ import annotations

from chaoslib.types import Configuration

from chaos.faults.activity import Activity
from chaos.handover import Fault
from infra.fabric.protocol import Fabric
from infra.machine.waiting import until
from infra.parts import nats, postgres

__all__ = ["another_node_leads_stream", "another_primary_leads", "leader_misses_node"]


def another_primary_leads(within_s: int, configuration: Configuration) -> bool:
    """Prove that another member leads PostgreSQL on a higher timeline, by its own Patroni's word."""
    activity = Activity(configuration)
    fault = activity.fault()
    expected = f"a member other than {fault.part} on a timeline above {fault.before['timeline']}"
    found = until(lambda: new_primary(activity.system, fault), within_s)
    return activity.prove("PostgreSQL's primary", expected, found)


def new_primary(system: Fabric, fault: Fault) -> str | None:
    """The member that leads in place of the one that was hit, by its own Patroni's word; None if none does."""
    for node in system.place.nodes(postgres.Postgres.kind):
        if node.name != fault.part:
            state = postgres.member_state(system.place, node)
            if state.get("role") in ("primary", "master") and int(state.get("timeline", 0)) > fault.before["timeline"]:
                return f"{node.name} on timeline {state['timeline']}"
    return None


def another_node_leads_stream(stream: str, within_s: int, configuration: Configuration) -> bool:
    """Prove that another NATS node leads the stream."""
    activity = Activity(configuration)
    part = activity.fault().part

    def look() -> str | None:
        leader = nats.stream_states(activity.system.place).get(stream, {}).get("leader")
        return leader if leader not in (None, part) else None

    return activity.prove(f"leader of {stream}", f"another than {part}", until(look, within_s))


def leader_misses_node(stream: str, within_s: int, configuration: Configuration) -> bool:
    """Prove that the stream's leader counts the copy of the node that was hit as not current."""
    activity = Activity(configuration)
    part = activity.fault().part

    def look() -> str | None:
        replicas = nats.stream_states(activity.system.place).get(stream, {}).get("replicas", [])
        state = next((peer for peer in replicas if peer["name"] == part), {"current": True})
        return None if state.get("current") else f"not current, {state.get('lag', 0)} operations behind"

    what = f"copy of {stream} on {part}, as its leader sees it"
    return activity.prove(what, "not current", until(look, within_s))

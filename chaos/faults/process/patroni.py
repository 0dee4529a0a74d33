"""Patroni crashes on the primary's node, and its PostgreSQL goes on without a lease until it is fenced.

Patroni is not marked to stay dead: a supervisor starts it again, and fences what it has left.
"""

from __future__ import annotations

from typing import Any

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.process import old_primary
from chaos.faults.process.kill import restart
from chaos.faults.process.leaders import new_primary
from infra.machine.waiting import until

__all__ = ["crash_patroni_of_primary", "old_primary_accepts_nothing", "patroni_is_gone"]


def crash_patroni_of_primary(configuration: Configuration) -> dict[str, Any]:
    """Kill the Patroni of the primary and nothing else."""
    activity = Activity(configuration)
    system = activity.system
    node, timeline = roles.primary(system)
    started = system.started_at(node.name)
    if started is None:
        raise ActivityFailed(f"expected Patroni of {node.name} to run, found no process of it")
    # What refuses now would refuse later for no better reason.
    if (refused := old_primary.try_write(system.place, node)) is not None:
        raise ActivityFailed(f"expected {node.name} to take a write at its own port while it leads, found: {refused}")
    target = f"Patroni alone of {node.name}, primary on timeline {timeline}"
    return activity.hit(system.crash, restart, node.name, target, {"timeline": timeline, "started_ms": _ms(started)})


def patroni_is_gone(configuration: Configuration) -> bool:
    """Prove that the Patroni that was hit is dead, whether another one was started since or not."""
    activity = Activity(configuration)
    fault = activity.fault()

    def look() -> str | None:
        started = activity.system.started_at(fault.part)
        if started is None:
            return "gone"
        return None if _ms(started) == fault.before["started_ms"] else "gone, another process in its place"

    return activity.prove(f"the process that was Patroni of {fault.part}", "gone", until(look, 5))


def old_primary_accepts_nothing(within_s: int, for_s: int, configuration: Configuration) -> bool:
    """Whether the old primary, asked at its own port, acknowledges no write from the moment that another member leads,
    for so long; `within_s` bounds the wait for that. One that it acknowledges is lost when it rejoins."""
    activity = Activity(configuration)
    system, fault = activity.system, activity.fault()
    node = system.parts[fault.part].node
    tally = old_primary.watch(
        lambda: new_primary(system, fault), lambda: old_primary.try_write(system.place, node), within_s, for_s
    )
    return old_primary.accepted_nothing(activity, fault.part, tally)


def _ms(instant_s: float) -> int:
    return round(instant_s * 1000)

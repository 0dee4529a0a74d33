"""A host hangs: a part is frozen with everything that it started, and goes on later as if nothing had been.

Unlike a dead one it keeps its connections and takes new ones, so that only deadlines tell; and it wakes up with what it
believed before: a primary that it leads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.process import old_primary
from chaos.faults.process.leaders import new_primary
from chaos.faults.recovery import undo_fault
from chaos.faults.registry import undo
from infra.fabric.protocol import Capability, Fabric
from infra.machine.waiting import until

__all__ = ["part_answers_nothing", "pause_primary", "pause_stream_leader", "wake_primary"]

_LEADS_WITHIN_S = 5.0
"""Another member leads already when the old primary is woken."""


@undo("resume")
def resume(system: Fabric, arguments: Mapping[str, str]) -> None:
    """The undo of a pause. Nothing happens to a part that is not frozen any more."""
    system.resume(arguments["part"])


def pause_primary(configuration: Configuration) -> dict[str, Any]:
    """Freeze the node that is PostgreSQL's primary now: Patroni and PostgreSQL together."""
    activity = Activity(configuration)
    node, timeline = roles.primary(activity.system)
    return _pause(activity, node.name, f"{node.name}, primary on timeline {timeline}", {"timeline": timeline})


def pause_stream_leader(stream: str, configuration: Configuration) -> dict[str, Any]:
    """Freeze the NATS node that leads a stream now."""
    activity = Activity(configuration)
    leader = roles.stream_leader(activity.system, stream).name
    return _pause(activity, leader, f"{leader}, leader of {stream}", {})


def _pause(activity: Activity, part: str, target: str, before: Mapping[str, int]) -> dict[str, Any]:
    activity.needs(Capability.PAUSE)
    activity.prepare(resume, part=part)
    at_ns = time.monotonic_ns()
    if not activity.system.pause(part):
        raise ActivityFailed(f"expected {part} to run, found no process of it")
    return activity.injected(at_ns, part, target, before)


def part_answers_nothing(within_s: int, configuration: Configuration) -> bool:
    """Prove as its client that the part does no work any more, although nothing of it has ended."""
    activity = Activity(configuration)
    part = activity.fault().part

    def look() -> str | None:
        lacks = activity.system.parts[part].waiting_for()
        return f"it is there, and a client waits for {lacks}" if lacks and activity.system.alive(part) else None

    expected = "a client waits in vain, and no process has ended"
    return activity.prove(f"what {part} answers", expected, until(look, within_s), "it works, or it has ended")


def wake_primary(for_s: int, configuration: Configuration) -> bool:
    """Let the frozen primary go on, and ask it for writes at its own port from before it wakes until so long after.

    Each is a write as clients make them. One that it acknowledges while another member leads is lost when it rejoins.
    """
    activity = Activity(configuration)
    system, fault = activity.system, activity.fault()
    node = system.parts[fault.part].node
    with ThreadPoolExecutor(1) as aside:
        watching = aside.submit(
            old_primary.watch, lambda: new_primary(system, fault),
            lambda: old_primary.try_write(system.place, node, local=False), _LEADS_WITHIN_S, for_s,
        )  # fmt: skip
        undo_fault(configuration)
        tally = watching.result()
    if tally is None:
        raise ActivityFailed(f"expected a member other than {fault.part} to lead, found none")
    how = f"{fault.part}, woken up, takes no write at its own port while {tally.leads} leads"
    unit = f"of {tally.tries} writes acknowledged"
    activity.count("recovery.rpo_loss", tally.accepted, unit, how, ok=tally.accepted == 0)
    if tally.accepted:
        raise ActivityFailed(f"{how}: expected none, found {tally.accepted} of {tally.tries} acknowledged")
    return True

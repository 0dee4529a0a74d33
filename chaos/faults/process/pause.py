"""A host hangs: a part is frozen with everything that it started, and goes on later as if nothing had been.

Unlike a dead one it keeps its connections and takes new ones, so that only deadlines tell; and it wakes up with what it
believed before: a primary that it leads.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
    activity.needs(Capability.PAUSE)
    node, timeline = roles.primary(activity.system)
    target = f"{node.name}, primary on timeline {timeline}"
    return activity.hit(activity.system.pause, resume, node.name, target, {"timeline": timeline})


def pause_stream_leader(stream: str, configuration: Configuration) -> dict[str, Any]:
    """Freeze the NATS node that leads a stream now."""
    activity = Activity(configuration)
    activity.needs(Capability.PAUSE)
    leader = roles.stream_leader(activity.system, stream).name
    return activity.hit(activity.system.pause, resume, leader, f"{leader}, leader of {stream}", {})


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
    return old_primary.accepted_nothing(activity, f"{fault.part}, woken up,", tally)

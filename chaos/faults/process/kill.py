"""A node is lost: a part is killed with everything that it started, and stays dead until it is undone.

However long the proof takes, no supervisor starts it; of a lost primary it only gives the lease back. A
program that crashes on a living node is another fault (`patroni`). Neither counts as an unplanned death, which would be
evidence against the system.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from chaoslib.types import Configuration

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.registry import undo
from infra.fabric.protocol import Fabric
from infra.machine.waiting import until

__all__ = ["kill_primary", "kill_stream_leader", "port_refuses", "process_is_gone"]


@undo("restart")
def restart(system: Fabric, arguments: Mapping[str, str]) -> None:
    """The undo of whatever ended a part or froze it: it goes on if it was frozen, and is started if it is gone."""
    system.resume(arguments["part"])
    system.start_part(arguments["part"])


def kill_primary(configuration: Configuration) -> dict[str, Any]:
    """Kill the node that is PostgreSQL's primary now: Patroni and PostgreSQL together."""
    activity = Activity(configuration)
    node, timeline = roles.primary(activity.system)
    target = f"{node.name}, primary on timeline {timeline}"
    return activity.hit(activity.system.kill, restart, node.name, target, {"timeline": timeline})


def kill_stream_leader(stream: str, configuration: Configuration) -> dict[str, Any]:
    """Kill the NATS node that leads a stream now."""
    activity = Activity(configuration)
    leader = roles.stream_leader(activity.system, stream).name
    return activity.hit(activity.system.kill, restart, leader, f"{leader}, leader of {stream}", {})


def port_refuses(configuration: Configuration) -> bool:
    """Prove that no process listens any more on the client port of the node that was killed."""
    activity = Activity(configuration)
    part = activity.fault().part
    place = activity.system.place.outside(activity.system.parts[part].node, "client")
    host, _, port = place.rpartition(":")

    def look() -> str | None:
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return None
        except ConnectionRefusedError:
            return "connection refused"
        except OSError as error:
            return None if isinstance(error, TimeoutError) else str(error)

    return activity.prove(f"{place}, client port of {part}", "connection refused", until(look, 5))


def process_is_gone(configuration: Configuration) -> bool:
    """Prove that no process of the part that was killed is left."""
    activity = Activity(configuration)
    part = activity.fault().part
    found = until(lambda: None if activity.system.alive(part) else "no process", 5)
    return activity.prove(f"processes of {part}", "no process", found)

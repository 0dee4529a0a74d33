"""Planted bugs: what the alarms are tested with.

A planted bug is a patch that is applied from outside when a part's process starts (`hook/sitecustomize.py`);
the system itself knows nothing of it. Each says which rows must go red, which may, and the cheapest command
that catches it. Anything else that goes red is a false alarm.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

VARIABLE = "COVENANT_PLANT"
"""Names the bug to the processes that get it."""

_HOOK = Path(__file__).with_name("hook")


class Plant(NamedTuple):
    """One planted bug; the module of the same name, with underscores, has the patch."""

    name: str
    title: str
    kinds: tuple[str, ...]
    """The kinds of part whose processes get it."""
    red: tuple[str, ...]
    """Rows that must go red; `*` stands for every region that runs."""
    may: tuple[str, ...]
    """Rows that may go red besides."""
    command: tuple[str, ...]
    """Its cheapest catching command, as arguments of ./covenant."""
    takes_s: float = 120.0
    """The usual length of that command on two cores, with the start and the end of its system."""

    def __str__(self) -> str:
        """One line: name, the rows that must go red, the command that catches it."""
        red = " ".join(self.red) or f"none ({self.title})"
        return f"{self.name:<22} must go red: {red}; caught by: {' '.join(self.command)}"

    @property
    def module(self) -> str:
        return f"chaos.plants.{self.name.replace('-', '_')}"


_WRITE = ("load", "run", "api-write", "--duration", "40")
"""2,400 writes, of which 1,200 create a project and 960 change one: a bug that hits one in 200 hits several."""
_BROWSE = ("load", "run", "api-browse", "--rate", "60", "--duration", "40")

PLANTS: dict[str, Plant] = {
    plant.name: plant
    for plant in (
        Plant(
            name="analytics-no-guard",
            title="analytics applies events again that it has applied already",
            kinds=("analytics",),
            red=("bus.exactly_once",),
            may=(),
            command=("chaos", "run", "analytics-kill"),
        ),
        Plant(
            name="api-stall-120ms",
            title="every read of the API waits 120 ms before it is handled",
            kinds=("api",),
            red=("api.read_p99.*",),
            may=(),
            command=("load", "run", "api-browse", "--duration", "20"),
        ),
        Plant(
            name="relay-no-message-id",
            title="the relay publishes without a message id: the stream keeps doubles, no consumer's effect may",
            kinds=("relay",),
            red=(),
            may=(),
            command=("chaos", "run", "relay-kill"),
        ),
        Plant(
            name="cache-not-invalidated",
            title="the cache invalidator moves on and deletes nothing",
            kinds=("cache-invalidator",),
            red=("ledger.contents",),
            may=(),
            command=_BROWSE,
        ),
        Plant(
            name="wrong-amount",
            title="one in 200 projects is stored with a cent more",
            kinds=("api",),
            red=("ledger.contents",),
            may=(),
            command=_WRITE,
        ),
        Plant(
            name="patch-dropped",
            title="one in 200 changes of a project raises its version and changes nothing",
            kinds=("api",),
            red=("ledger.contents",),
            may=(),
            command=_WRITE,
        ),
        Plant(
            name="page-drops-item",
            title="one in 50 pages of projects lacks its last item",
            kinds=("api",),
            red=("api.consistency",),
            may=(),
            command=_BROWSE,
        ),
        Plant(
            name="own-write-not-seen",
            title="the API reads from the region's replica, whether that shows the client's own write or not",
            kinds=("api",),
            red=("api.consistency",),
            may=(),
            command=_BROWSE,
        ),
        Plant(
            name="audit-entry-altered",
            title="one in 200 entries of the audit trail says another status than its event",
            kinds=("audit-logger",),
            red=("ledger.contents",),
            may=(),
            command=_WRITE,
        ),
        Plant(
            name="feed-event-altered",
            title="one in 200 events of a live feed has another amount than its change",
            kinds=("frontend-realtime",),
            red=("ledger.contents",),
            may=(),
            command=_WRITE,
        ),
        Plant(
            name="notification-swallowed",
            title="one in 200 notifications is never made, though its event counts as applied",
            kinds=("notifications",),
            red=("bus.exactly_once",),
            may=(),
            command=_WRITE,
        ),
    )
}


def environment(name: str) -> dict[str, dict[str, str]]:
    """Kind of part -> further environment of its processes, as `System.create` takes it. KeyError if unknown."""
    return {kind: {"PYTHONPATH": str(_HOOK), VARIABLE: name} for kind in PLANTS[name].kinds}

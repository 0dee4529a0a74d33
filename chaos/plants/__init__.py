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
    )
}


def environment(name: str) -> dict[str, dict[str, str]]:
    """Kind of part -> further environment of its processes, as `System.create` takes it. KeyError if unknown."""
    return {kind: {"PYTHONPATH": str(_HOOK), VARIABLE: name} for kind in PLANTS[name].kinds}

"""What the preflight is computed from. Only `machine` reads anything from the outside."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.machine.idle import cores_left
from infra.machine.memory import available_bytes
from infra.topology.model import Node, Topology
from infra.topology.options import Options
from system.wire import Stream

DATABASE = "postgres"
BUS = "nats"
REPLICAS = 3
"""The copies of a stream."""
_LOOK_S = 0.5


class Bound(Protocol):
    """What a value must meet."""

    @property
    def op(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def unit(self) -> str: ...
    def met_by(self, value: float) -> bool: ...


class Claim(Protocol):
    """A row and its claim; `family` is the row's id without the region."""

    @property
    def row(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def region(self) -> str | None: ...
    @property
    def bound(self) -> Bound: ...


@dataclass(frozen=True)
class Machine:
    """What a machine has left: free bytes, how many files one process may have open, and cores: those that this
    process may use, less what others take of them just now."""

    memory_bytes: int
    disk_bytes: int
    open_files_max: int
    cores: float


@dataclass(frozen=True)
class Inputs:
    """The system that the preflight is for, and the machine that it would run on."""

    topology: Topology
    size: str
    options: Options
    timings: dict[str, Any]
    """Patroni's settings for the whole cluster, by its own names: seconds, bytes."""
    parameters: dict[str, Any]
    """PostgreSQL's settings, by its own names."""
    streams: Sequence[Stream]
    machine: Machine

    def nodes(self, kind: str, layout: str | None = None) -> list[Node]:
        """The nodes of a kind that run from the start."""
        every = self.topology.nodes(self.size, layout or self.options.bus)
        return [node for node in every if node.kind == kind and not node.standby]

    def rtt_ms(self, one: str, other: str) -> float:
        """The round trip between two regions; 0 within one."""
        return self.topology.distance_ms(one, other)

    @property
    def regions(self) -> list[str]:
        return self.topology.running_regions(self.size)

    @property
    def layouts(self) -> list[str]:
        return self.topology.layouts(self.size)

    @property
    def primary(self) -> Node:
        return self.nodes(DATABASE)[0]


def machine(checkout: Path, run_id: str | None = None) -> Machine:
    """What this machine has left for a system of the checkout; takes half a second. What processes of the system
    `run_id` take is not taken by others. OSError."""
    disk = os.statvfs(checkout)
    return Machine(
        memory_bytes=available_bytes(),
        disk_bytes=disk.f_bavail * disk.f_frsize,
        open_files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        cores=cores_left(run_id, _LOOK_S),
    )

"""What a running system offers to those who load, break, check and operate it, whatever it runs on.

Only the implementation of a fabric knows processes, containers or hosts; everything else knows this protocol. A fabric
says what it can do (`capabilities`); an injector that needs more refuses before it breaks anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

from infra.machine.progress import Report
from infra.parts.base import Part
from infra.site.bus_users import STREAMS_ADMIN
from infra.site.site import Place, Site
from infra.target import Target
from infra.wan.control import State as LinkState
from infra.wan.links import Shape

__all__ = ["Capability", "Death", "Fabric", "LinkError", "LinkState", "PartState", "StartError"]

PartState = Literal["running", "paused", "dead"]
"""`dead`: its own process (container, ...) is gone, whatever it may have left behind."""


class Capability(StrEnum):
    """What not every fabric can do, in words that complete "this fabric"."""

    SHAPE_LINKS = "can cut and shape links"
    PAUSE = "can pause parts"
    LOSE_POWER = "can lose power"
    PIDS = "knows pids"


class StartError(Exception):
    """The system, or a part of it, did not start: which part, what it waited for, the end of its log."""


class LinkError(Exception):
    """A link cannot be read or changed; says why."""


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """One end of one process of a part."""

    part: str
    created: float
    """When that process was started, in seconds since 1970: it distinguishes a part's lives."""
    at_ns: int
    """When its end was noticed, CLOCK_MONOTONIC."""
    planned: bool = False
    """Whether the harness killed it."""
    supervised: bool = False
    """Whether the supervisor noticed it, and starts the part again unless it is to stay dead."""
    fenced: int = 0
    """How many processes that it had left were killed then."""
    lease_released: bool = False
    """Whether it led PostgreSQL and its lease was given back at once."""


class Fabric(Protocol):
    """A system on some fabric. Parts are named as in the topology (`postgres-iad-a`), regions as well.

    KeyError for a part or a region that the system does not have.
    """

    @property
    def name(self) -> str:
        """Of the fabric: `process`."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def site(self) -> Site:
        """Its folder, secrets and options."""

    @property
    def place(self) -> Place:
        """Where each node is found: addresses inside the regions, and as this machine reaches them."""

    @property
    def parts(self) -> Mapping[str, Part]: ...

    # The whole system.

    def start(self, progress: Report) -> None:
        """Start every part in order and wait until all are ready and redundant. StartError."""

    def stop(self) -> None:
        """End everything that the system runs; never raises for what is gone already. Its folder stays."""

    def remove(self) -> None:
        """Delete its folder."""

    def missing(self, waiting: Mapping[str, str] | None = None) -> list[str]:
        """What the system lacks of full redundancy, one condition an entry. `waiting` spares asking again."""

    def waiting(self) -> dict[str, str]:
        """Living parts that are not ready -> what each waits for, in words."""

    def deaths(self) -> list[Death]:
        """Every death of a part that the harness did not cause."""

    # Its parts.

    def start_part(self, name: str) -> None:
        """Start a part; does not wait for it. Nothing happens if it runs."""

    def kill(self, *names: str) -> int:
        """End parts with everything that they started, at one instant, as when their nodes are lost. They stay dead
        until they are started. How many processes were hit, 0 if none ran."""

    def crash(self, name: str) -> bool:
        """End a part's own process and nothing that it started, as when a program crashes: a supervisor fences what is
        left and starts it again. False if it did not run."""

    def pause(self, *names: str) -> int:
        """Freeze parts with everything that they started, as when their hosts hang; ports stay open. How many
        processes are frozen."""

    def resume(self, *names: str) -> None:
        """Let paused parts go on. Nothing happens to those that are not paused."""

    def let_run(self, name: str, for_s: float) -> tuple[int, float] | None:
        """Let a paused part's own process go on for a moment and freeze it again, both at once, without looking for
        what it has started, which stays as it is: (CLOCK_MONOTONIC ns just before it was frozen, for how many seconds
        it ran). None if it has ended."""

    def restart(self, *names: str) -> None:
        """Kill parts, then start them; does not wait for them."""

    def reload(self, name: str) -> None:
        """Have a part read its configuration again, if it can without a restart."""

    def state(self, name: str) -> PartState: ...

    def alive(self, name: str) -> bool:
        """Whether a part's own process is there, paused or not."""

    def is_gone(self, name: str) -> bool:
        """Whether nothing of a part is left, not even what it started."""

    def wanted(self, name: str) -> bool:
        """Whether a part is meant to run: False once it was killed on purpose."""

    def expected(self, name: str) -> bool:
        """Whether the system lacks something without the part: of a kind with standbys one works at a time."""

    def started_at(self, name: str) -> float | None:
        """When the living process of a part was started, in seconds since 1970: no other of its lives has the same.
        None if none lives."""

    def pid(self, name: str) -> int | None:
        """Of a part's own process; None where there is none, or the fabric knows none."""

    def wait_ready(self, parts: Iterable[Part], deadline: float) -> None:
        """Wait until every part is ready. StartError at the deadline (time.monotonic) or when one ends."""

    # Regions and the links between them.

    def inside(self, region: str) -> list[str]:
        """What to put before a command so that it runs inside a region; nothing where regions are not apart."""

    def links(self) -> list[LinkState]:
        """Every direction of every link. LinkError."""

    def shape_link(self, source: str, target: str, shape: Shape) -> None:
        """Give one direction of a link another shape. LinkError."""

    # What others need of it.

    @property
    def target_path(self) -> Path:
        """The file that names this system to other processes; there once it is ready."""

    def target(self) -> Target:
        """What a program of this machine needs to know of it."""

    def write_target(self) -> None:
        """Write down how to reach the system as it is now."""

    def versions(self) -> dict[str, str]:
        """Kind of part -> its version."""

    def keep_logs(self, folder: Path) -> None:
        """Copy configuration and logs as they ran, without the secrets, for a run's evidence."""

    def make_mirrors(self, regions: Sequence[str]) -> None:
        """Have regions keep a mirror of each stream of the bus. StartError."""

    def run_once(
        self, module: str, *, role: str, region: str | None = None, bus_user: str = STREAMS_ADMIN,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Run a one-shot module of the system in a region, the active one if none is named, with `more` in its
        environment. StartError with the end of its log."""

    def run_tool(
        self, module: str, arguments: Sequence[str], *, more: Mapping[str, str] = MappingProxyType({}),
        quiet: bool = False,
    ) -> int:  # fmt: skip
        """Run a command of the system in the active region, with `more` in its environment; its exit code. Its output
        is passed through; with `quiet` it goes to its log."""

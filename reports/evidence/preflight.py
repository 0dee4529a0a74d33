"""What is possible before anything runs (`evidence/preflight.json`): computed from the topology, the options and the
machine, written beside what was then measured. Every figure says how it came about."""

from __future__ import annotations

from typing import Literal

import msgspec

Feasible = Literal["possible", "impossible", "depends"]


class RegionFloor(msgspec.Struct, frozen=True, kw_only=True):
    """What the way alone takes, ms, for a client in a region that asks the nearest part there is. None where nothing
    of the kind stands in the size. `write_ms` is by durability, what the bus does by its layout."""

    region: str
    read_ms: float | None
    write_ms: dict[str, float]
    lag_ms: float | None
    """From a commit on the primary until the region's replica can know of it: one way."""
    publish_ms: dict[str, float]
    delivery_ms: dict[str, float]
    """From the leader's timestamp to a consumer in the region."""
    realtime_ms: dict[str, float]
    """From the commit to a browser in the region."""


class FaultBound(msgspec.Struct, frozen=True, kw_only=True):
    """How long a fault can keep the system from its work, and what it can cost. `rto_max_s` is None where the system
    does not recover by itself."""

    id: str
    what: str
    rto_min_s: float
    rto_max_s: float | None
    rto_how: str
    lost: str
    lost_how: str
    budget_share: float | None
    """What the worst case takes of a month's error budget, 1.0 is all of it; None with `rto_max_s`."""
    experiments: list[str] = []
    """The experiments that inject it."""
    applies: bool = True
    """False for the other choice of an option, shown for comparison."""


class PowerLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What a power loss can take of what was acknowledged."""

    what: str
    lost: str
    how: str


class StreamCover(msgspec.Struct, frozen=True, kw_only=True):
    """How long a stream keeps what a consumer that is down has still to read, at a rate of messages."""

    stream: str
    msgs_max: int
    age_max_s: int
    rate_per_s: float
    covers_s: float
    limited_by: Literal["messages", "age"]


class Quorum(msgspec.Struct, frozen=True, kw_only=True):
    """`needs` of `members` must be there; `ends_with` names the regions whose loss alone takes too many."""

    what: str
    members: int
    needs: int
    ends_with: list[str]
    note: str = ""

    @property
    def may_lose(self) -> int:
        return self.members - self.needs


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What the system wants of this machine or of a part, and what there is."""

    what: str
    needs: float
    has: float
    unit: str
    how: str

    @property
    def enough(self) -> bool:
        return self.needs <= self.has


class Possibility(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a claim can be met at all. `best` is the best value that can come out, in the claim's unit: the floor of
    a latency, the ceiling of an amount; None where nothing sets one. `by_distance`: it comes from the round trips, so
    that it is none where the regions are not apart."""

    row: str
    verdict: Feasible
    best: float | None
    unit: str
    why: str
    by_distance: bool = False


class Preflight(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the preflight found. `formulas` says how the floors of the regions come about, by field."""

    size: str
    bus: str
    durability: str
    options: dict[str, str]
    topology_sha256: str
    formulas: dict[str, str]
    regions: list[RegionFloor]
    faults: list[FaultBound]
    power: list[PowerLoss]
    streams: list[StreamCover]
    quorums: list[Quorum]
    resources: list[Resource]
    claims: list[Possibility]
    notes: list[str] = []
    """What is unsound about the settings themselves."""

"""What is possible, computed from the topology, the options and the machine before anything runs
(`evidence/preflight.json`). Reports show it beside what was measured. Every figure says how it was computed."""

from __future__ import annotations

from typing import Literal

import msgspec

Feasible = Literal["possible", "impossible", "depends"]


class RegionFloor(msgspec.Struct, frozen=True, kw_only=True):
    """The least that distance alone makes a client in a region wait for the nearest part, in ms. None if the size has
    no such part. `write_ms` is by durability; `publish_ms`, `delivery_ms` and `realtime_ms` are by bus layout."""

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
    """How long a fault can stop the system, and which acknowledged writes it can take. `rto_max_s` is None where the
    system does not recover by itself."""

    id: str
    what: str
    rto_min_s: float
    rto_max_s: float | None
    rto_how: str
    lost: str
    lost_how: str
    budget_share: float | None
    """The share of a month's error budget that the worst case takes (1.0: all of it); None if `rto_max_s` is."""
    experiments: list[str] = []
    """The experiments that inject it."""
    applies: bool = True
    """False if the bound belongs to an option that was not chosen; it is shown for comparison."""


class PowerLoss(msgspec.Struct, frozen=True, kw_only=True):
    """Which acknowledged writes or messages a power loss can take."""

    what: str
    lost: str
    how: str


class StreamCover(msgspec.Struct, frozen=True, kw_only=True):
    """How long an outage of a consumer a stream covers before it drops unread messages, at a given rate."""

    stream: str
    msgs_max: int
    age_max_s: int
    rate_per_s: float
    covers_s: float
    limited_by: Literal["messages", "age"]


class Quorum(msgspec.Struct, frozen=True, kw_only=True):
    """`needs` of `members` must be alive; `ends_with` names the regions whose loss alone leaves too few."""

    what: str
    members: int
    needs: int
    ends_with: list[str]
    note: str = ""

    @property
    def may_lose(self) -> int:
        return self.members - self.needs


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What the system needs of this machine or of a part, and how much of it there is."""

    what: str
    needs: float
    has: float
    unit: str
    how: str

    @property
    def enough(self) -> bool:
        return self.needs <= self.has


class Possibility(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a claim can be met at all. `best` is the best value that can be measured, in the claim's unit: the floor
    of a latency or the ceiling of an amount; None if nothing bounds it. If `by_distance`, the bound comes from round
    trips and does not apply where the regions are not apart."""

    row: str
    verdict: Feasible
    best: float | None
    unit: str
    why: str
    by_distance: bool = False


class Preflight(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the preflight found. `formulas`: field of RegionFloor -> how it is computed, in words."""

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

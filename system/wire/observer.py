"""What an observer may read besides the published contract, named here and nowhere else: the consumers, what those of
a region keep in its Valkey, and the views in PostgreSQL.

The harness reads this and never a table or a key that it knows by itself, so that the inside may change. Adding a
consumer begins here: users of the bus, parts, positions and dead letters follow from its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Consumer(NamedTuple):
    """A consumer of all events. `name` is what its part in the topology and its dead letters go by."""

    name: str
    per_region: bool
    """False: it runs once in the system, and keeps its positions and its trace in PostgreSQL, with its effects. True:
    it runs in every region, and keeps them in that region's Valkey."""

    @property
    def module(self) -> str:
        """`system.events.consumers.audit_logger`: what runs as its process."""
        return f"system.events.consumers.{self.name.replace('-', '_')}"


CONSUMERS: tuple[Consumer, ...] = (
    Consumer("analytics", per_region=False),
    Consumer("audit-logger", per_region=False),
    Consumer("notifications", per_region=False),
    Consumer("cache-invalidator", per_region=True),
    Consumer("frontend-realtime", per_region=True),
    Consumer("mobile-sync", per_region=True),
)


class ConsumerInstance(NamedTuple):
    """A consumer where it runs; `region` is None for one that runs once in the system."""

    name: str
    region: str | None = None

    @property
    def durable(self) -> str:
        """Its name on the bus: `analytics`, `mobile-sync-ams`."""
        return self.name if self.region is None else f"{self.name}-{self.region}"

    def __str__(self) -> str:
        return self.name if self.region is None else f"{self.name} in {self.region}"


def consumer(name: str) -> Consumer:
    """The declared consumer of this name. ValueError if there is none."""
    for declared in CONSUMERS:
        if declared.name == name:
            return declared
    names = ", ".join(declared.name for declared in CONSUMERS)
    raise ValueError(f"system/wire/observer.py declares no consumer {name!r}; there are: {names}")


def once() -> list[str]:
    """The names of those that run once in the system."""
    return [declared.name for declared in CONSUMERS if not declared.per_region]


def per_region() -> list[str]:
    """The names of those that run in every region."""
    return [declared.name for declared in CONSUMERS if declared.per_region]


def instances(regions: Iterable[str]) -> list[ConsumerInstance]:
    """Every consumer wherever it runs: first those that run once, then region by region."""
    return [ConsumerInstance(name) for name in once()] + [
        ConsumerInstance(name, region) for region in regions for name in per_region()
    ]


def instance(durable: str, regions: Sequence[str]) -> ConsumerInstance:
    """The instance that the bus knows by this name. ValueError if there is none."""
    found = {one.durable: one for one in instances(regions)}
    if durable not in found:
        raise ValueError(f"no consumer is called {durable!r}; there are: {', '.join(found)}")
    return found[durable]


# Keys in a region's Valkey. They name no region, since each has a Valkey of its own.

TRACE_LENGTH_MAX = 100_000
"""How many ranges a trace holds at most; older ones are cut off."""
FEED = "covenant:feed:"
"""The beginning of the key of a partition's live feed: a stream whose entries have the id `<position>-0`."""


def key_prefix(consumer: str) -> str:
    """What the keys of a regional consumer begin with."""
    return f"covenant:{consumer}"


def positions_key(consumer: str) -> str:
    """Hash: partition -> the position up to which events were applied."""
    return f"{key_prefix(consumer)}:positions"


def trace_key(consumer: str, partition: str) -> str:
    """List: the ranges of positions that were applied, `first-last`, in the order in which they were."""
    return f"{key_prefix(consumer)}:trace:{partition}"


def feed_key(partition: str) -> str:
    return f"{FEED}{partition}"


# Views in PostgreSQL, which migrations make.

SCHEMA = "observer"


class View(NamedTuple):
    """A view that only the role `covenant_observer` may read. In the text of a query it stands by its name:
    `f"select id from {PROJECTS}"`."""

    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{SCHEMA}.{self.name}"


PROJECTS = View(
    "projects",
    (
        "id", "name", "region", "country_code", "sector", "status", "funding_usd_millions", "version", "incarnation",
    ),
)  # fmt: skip
COUNTRIES = View("countries", ("id", "region", "gdp_usd_billions", "contribution_usd_millions", "version"))
ROLLUPS = View("rollups", ("region", "sector", "status", "projects", "funding_usd_millions"))
"""What analytics has added up."""
EVENTS = View(
    "events",
    ("id", "event_id", "aggregate", "aggregate_id", "partition", "position", "type", "before", "after", "created_at"),
)
"""The outbox: events in the order of `id`; `position` is null until the relay has given one."""
WAITING_EVENTS = View("waiting_events", ("id", "aggregate"))
"""Those of the outbox that have no position yet."""
RELAY_POSITIONS = View("relay_positions", ("partition", "next_position", "confirmed_position"))
"""Of each partition the next position that the relay gives, and up to which it has noted its events as stored."""
CONSUMER_POSITIONS = View("consumer_positions", ("consumer", "partition", "position"))
"""Of a consumer that runs once, by its name; of one that runs in a region what it last reported, by its durable."""
CONSUMER_TRACES = View("consumer_traces", ("consumer", "partition", "first", "last"))
"""The ranges of positions that a consumer that runs once has applied: one that overlaps another is a doubled effect, a
hole a lost one."""
AUDIT_TRAIL = View("audit_trail", ("seq", "event_id", "entry"))
"""An entry is its event as canonical JSON."""
AUDIT_TABLE = "audit_log"
"""Where its entries are, which no role may change: named for checks that try to."""
NOTIFICATIONS = View("notifications", ("event_id", "state", "topic", "title", "body"))
HEARTBEATS = View("heartbeats", ("beat", "written_at"))
"""The newest heartbeats (`system.wire.load`), each with the instant just before its commit on the primary."""

VIEWS = (
    PROJECTS, COUNTRIES, ROLLUPS, EVENTS, WAITING_EVENTS, RELAY_POSITIONS, CONSUMER_POSITIONS, CONSUMER_TRACES,
    AUDIT_TRAIL, NOTIFICATIONS, HEARTBEATS,
)  # fmt: skip

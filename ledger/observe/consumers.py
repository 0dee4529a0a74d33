"""The six consumers as they are seen from outside: what each is called, and where it leaves its position and the
trace of what it applied.

Those that run once in the system keep both in PostgreSQL, with their effects; those that run in every region keep
them in the region's Valkey, with theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing
from typing import NamedTuple

import psycopg
import redis

from infra.target import Target
from ledger.coverage import Range, parse_range
from system import wire

ONCE = ("analytics", "audit-logger", "notifications")
PER_REGION = ("cache-invalidator", "frontend-realtime", "mobile-sync")
TRACE_LENGTH_MAX = 100_000
"""How many ranges of a partition a consumer keeps in Valkey."""
PARTITIONS = tuple(f"{stream.aggregate}.{number}" for stream in wire.STREAMS for number in range(wire.PARTITIONS))
FEED = "covenant:feed:"
"""Beginning of the name of a partition's live feed."""
_CACHE_TIMEOUT_S = 3.0
_STATEMENT_TIMEOUT = "-c statement_timeout=5000"

_POSITIONS = "select partition, position from consumer_position where consumer = %s"
_APPLIED = """
select partition, first, last from consumer_applied where consumer = %s and partition = any(%s) and last >= %s
"""


class Consumer(NamedTuple):
    """A consumer; `region` is None for one that runs once in the system."""

    name: str
    region: str | None

    @property
    def durable(self) -> str:
        """What the bus, and the part, call it: `analytics`, `mobile-sync-ams`."""
        return self.name if self.region is None else f"{self.name}-{self.region}"

    @property
    def positions_key(self) -> str:
        """Valkey's hash of partition -> position."""
        return f"covenant:{self.name}:positions"

    def trace_key(self, partition: str) -> str:
        """Valkey's list of `first-last`."""
        return f"covenant:{self.name}:trace:{partition}"

    def __str__(self) -> str:
        return self.name if self.region is None else f"{self.name} in {self.region}"


class CutOff(Exception):
    """A trace does not reach back far enough; says why."""


def consumers(regions: Iterable[str]) -> list[Consumer]:
    """All of them, in a system with these regions."""
    once = [Consumer(name, None) for name in ONCE]
    return once + [Consumer(name, region) for name in PER_REGION for region in regions]


def named(durable: str, regions: Collection[str]) -> Consumer:
    """The consumer that the bus knows by this name. ValueError if there is none."""
    for consumer in consumers(regions):
        if consumer.durable == durable:
            return consumer
    raise ValueError(f"no consumer is called {durable!r}; there are: {', '.join(ONCE + PER_REGION)} (by region)")


def positions(target: Target, consumer: Consumer) -> dict[str, int]:
    """Partition -> the last position whose effect is there. psycopg.Error, redis.RedisError."""
    if consumer.region is None:
        with psycopg.connect(target.observer_dsn, autocommit=True, options=_STATEMENT_TIMEOUT) as link:
            return dict(link.execute(_POSITIONS, [consumer.name]).fetchall())
    with closing(_valkey(target, consumer.region)) as cache:
        return {str(partition): int(position) for partition, position in cache.hgetall(consumer.positions_key).items()}


def traces(
    target: Target, consumer: Consumer, partitions: Collection[str], lowest: int, ran_s: float
) -> dict[str, list[Range]]:
    """Partition -> the ranges of positions that it applied, those that end before position `lowest` perhaps left out.

    `ran_s`: how long ago the first of them can have been applied. CutOff if the trace is younger or was cut;
    psycopg.Error, redis.RedisError, ValueError for an entry that is no range.
    """
    found: dict[str, list[Range]] = {partition: [] for partition in partitions}
    if consumer.region is None:
        with psycopg.connect(target.observer_dsn, autocommit=True, options=_STATEMENT_TIMEOUT) as link:
            for partition, first, last in link.execute(_APPLIED, [consumer.name, list(partitions), lowest]):
                found[partition].append((first, last))
        return found
    with closing(_valkey(target, consumer.region)) as cache:
        up_s = int(cache.info("server")["uptime_in_seconds"])
        entries = {partition: cache.lrange(consumer.trace_key(partition), 0, -1) for partition in partitions}
    if up_s < ran_s:
        raise CutOff(
            f"the cache was started {up_s} s ago, after the first write ({ran_s:.0f} s ago): its trace is lost"
        )
    if any(len(trace) >= TRACE_LENGTH_MAX for trace in entries.values()):
        raise CutOff(f"its trace holds no more than {TRACE_LENGTH_MAX:,} ranges of a partition and may be cut off")
    return {partition: [parse_range(str(entry)) for entry in trace] for partition, trace in entries.items()}


def feed(target: Target, region: str, partition: str, lowest: int) -> tuple[int, set[int]]:
    """(first position that the region's live feed of a partition holds, those of its positions from `lowest` on);
    an older event is read from the outbox. redis.RedisError."""
    key = FEED + partition
    with closing(_valkey(target, region)) as cache:
        first = [_position(entry) for entry in cache.xrange(key, count=1) or ()]
        held = {_position(entry) for entry in cache.xrange(key, min=f"{lowest}-0") or ()}
    return min(first, default=lowest), held


def _position(entry: tuple[object, object]) -> int:
    """Of an entry with the id `<position>-0`."""
    return int(str(entry[0]).partition("-")[0])


def _valkey(target: Target, region: str) -> redis.Redis:
    return redis.Redis.from_url(
        target.valkey[region], decode_responses=True, socket_timeout=_CACHE_TIMEOUT_S,
        socket_connect_timeout=_CACHE_TIMEOUT_S,
    )  # fmt: skip

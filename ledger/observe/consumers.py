"""What consumers leave of what they applied: the traces of their positions, and the live feeds of the regions.

Those that run once in the system keep their traces in PostgreSQL, with their effects; those that run in every region
keep them in the region's Valkey, with theirs.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from typing import Any

import psycopg
import redis

from infra.target import Target
from ledger.coverage import parse_range
from reports.evidence.range_set import Range
from system.wire import observer
from system.wire.observer import ConsumerInstance

_CACHE_TIMEOUT_S = 5.0
_STATEMENT_TIMEOUT = "-c statement_timeout=30000"
"""In ms; the trace of a load of millions is thousands of rows, which a busy machine takes its time to find."""
_TRACE = f"""
select partition, first, last from {observer.CONSUMER_TRACES}
where consumer = %s and partition = any(%s) and last >= %s
"""


class CutOff(Exception):
    """A trace does not reach back far enough; says why."""


def traces(
    target: Target, instance: ConsumerInstance, partitions: Collection[str], lowest: int, ran_s: float
) -> dict[str, list[Range]]:
    """Partition -> the ranges of positions that it applied, those that end before position `lowest` perhaps left out.

    `ran_s`: how long ago the first of them can have been applied. CutOff if the trace is younger or was cut;
    psycopg.Error, redis.RedisError, ValueError for an entry that is no range.
    """
    found: dict[str, list[Range]] = {partition: [] for partition in partitions}
    if instance.region is None:
        with psycopg.connect(target.observer_dsn, autocommit=True, options=_STATEMENT_TIMEOUT) as link:
            for partition, first, last in link.execute(_TRACE, [instance.name, list(partitions), lowest]):
                found[partition].append((first, last))
        return found
    with closing(_valkey(target, instance.region)) as cache:
        up_s = int(cache.info("server")["uptime_in_seconds"])
        entries = {
            partition: cache.lrange(observer.trace_key(instance.name, partition), 0, -1) for partition in partitions
        }
    if up_s < ran_s:
        raise CutOff(
            f"the cache was started {up_s} s ago, after the first write ({ran_s:.0f} s ago): its trace is lost"
        )
    if any(len(trace) >= observer.TRACE_LENGTH_MAX for trace in entries.values()):
        raise CutOff(
            f"its trace holds no more than {observer.TRACE_LENGTH_MAX:,} ranges of a partition and may be cut off"
        )
    return {partition: [parse_range(str(entry)) for entry in trace] for partition, trace in entries.items()}


def feed(target: Target, region: str, partition: str, lowest: int) -> tuple[int, dict[int, str]]:
    """(first position that the region's live feed of a partition holds, its positions from `lowest` on with their
    events as JSON); an older event is read from the outbox. redis.RedisError."""
    key = observer.feed_key(partition)
    with closing(_valkey(target, region)) as cache:
        first = [_position(entry) for entry in cache.xrange(key, count=1) or ()]
        held = {_position(entry): _event(entry) for entry in cache.xrange(key, min=f"{lowest}-0") or ()}
    return min(first, default=lowest), held


def _position(entry: tuple[object, object]) -> int:
    """Of an entry with the id `<position>-0`."""
    return int(str(entry[0]).partition("-")[0])


def _event(entry: tuple[object, Any]) -> str:
    return str(entry[1]["event"])


def _valkey(target: Target, region: str) -> redis.Redis:
    return redis.Redis.from_url(
        target.valkey[region], decode_responses=True, socket_timeout=_CACHE_TIMEOUT_S,
        socket_connect_timeout=_CACHE_TIMEOUT_S,
    )  # fmt: skip

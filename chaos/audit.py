"""The audit: after healing, look for every write of a ledger at every hop that it has to pass.

Each hop becomes one record: the database, each region's replica, the outbox, the stream, and the effects of
each consumer. The audit counts and judges nothing. A hop that cannot be read says why, and then proves
nothing; a hop that lags is waited for, so that what is late is not taken for lost. Only writes of this ledger
are looked at: others may use the system at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, LiteralString, NamedTuple

import msgspec
import psycopg
import redis

from chaos import bus
from chaos.applied import Event, Range, effects, parse_range
from chaos.instants import EVENTS, PARTITIONS, STREAM
from chaos.waiting import until
from infra.target import Target
from loadtests.engine.rollups import HOW, UNEQUAL_GROUPS
from reports.evidence import Count, Hop, RunFolder
from system import wire

_WITHIN_S = 10.0
_RECONCILED_WITHIN_S = 5.0
_STATEMENT_TIMEOUT = "-c statement_timeout=5000"
_CACHE_TIMEOUT_S = 3.0
_BY_EVENTS = ("stream", "analytics", "cache-invalidator")
"""Hops that writes reach by events, which take their time."""
_TRACE = "covenant:trace:"
_TRACE_LENGTH_MAX = 100_000
"""The cache invalidator keeps no more ranges of a partition."""

_PROJECTS = "select id::text from projects where id = any(%s::uuid[])"
_OUTBOX = """
select aggregate_id, event_id::text, partition, position from outbox
where aggregate = 'projects' and type = 'created' and aggregate_id = any(%s) order by id
"""
_APPLIED = """
select partition, first, last from consumer_applied
where consumer = 'analytics' and partition = any(%s) and last >= %s
"""


class _Unreadable(Exception):
    """The hop answers, but what it says does not reach up to now, or not back far enough."""


def last_event_seq(target: Target) -> int:
    """The stream sequence of the newest event, 0 if there is none: taken before a ledger's first write, it is
    where the audit of the stream begins. bus.BusError."""

    async def look() -> int:
        async with bus.observer(target) as client:
            last = await bus.last_event(client, STREAM, EVENTS)
            return last.seq if last else 0

    return asyncio.run(look())


def audit(folder: RunFolder, client: str, target: Target, *, behind_seq: int, late: str | None) -> list[str]:
    """Look for the writes of the ledger `client` everywhere; write a Hop for each place, and a Count for whether
    analytics' totals add up. What could not be read, in words.

    `behind_seq` is what `last_event_seq` answered before the first write; `late` what `chaos.drain` still waited for.
    """
    history = folder.write_history(client)
    ids = sorted({write.id for write in history})
    began_ns = min((write.at_ns for write in history), default=time.monotonic_ns())
    events: dict[str, Event] = {}
    looks = [
        _Look("postgres", lambda: _once(_query(target.observer_dsn, _PROJECTS, [ids]))),
        _Look("outbox", lambda: _outbox(target, ids, events)),
        _Look("stream", lambda: _stream(target, ids, behind_seq)),
        _Look("analytics", lambda: _analytics(target, events), effect=True),
        *(_Look("replica", partial(_replica, target, region, ids), region) for region in target.regions),
        *(
            _Look(
                "cache-invalidator", partial(_invalidator, target.valkey[region], events, began_ns), region, effect=True
            )
            for region in target.regions
        ),
    ]
    problems = []
    for look in looks:
        hop = _take(client, look, events)
        if late is not None and look.hop in _BY_EVENTS:
            hop = doubt(hop, {write.id for write in history if write.outcome == "ok"}, late)
        folder.write_hop(hop)
        if hop.problem:
            problems.append(f"{look.hop}{f' in {look.region}' if look.region else ''}: {hop.problem}")
    try:
        with folder.facts() as facts:
            facts.add(_reconcile(target))
    except psycopg.Error as error:
        problems.append(f"analytics' totals: {error}")
    return problems


class _Look(NamedTuple):
    """A hop, and how to find out what of the ledger is there: write id -> how often."""

    hop: str
    find: Callable[[], dict[str, int]]
    region: str | None = None
    effect: bool = False


def doubt(hop: Hop, acked: Collection[str], late: str) -> Hop:
    """A hop from which acknowledged writes are missing proves nothing while events are still under way: late is not
    lost. One where everything is there says what it says."""
    missing = len(set(acked) - hop.found.keys())
    if hop.problem or not missing:
        return hop
    return msgspec.structs.replace(hop, problem=f"{missing} writes may be late, not lost: waited in vain for {late}")


def _take(client: str, look: _Look, events: Mapping[str, Event]) -> Hop:
    """What was found, or why it could not be read. The outbox names the events for all hops."""
    found: dict[str, int] = {}
    problem = None
    try:
        found = look.find()
    except (psycopg.Error, bus.BusError, redis.RedisError, OSError, ValueError, _Unreadable) as error:
        problem = str(error).strip() or type(error).__name__
    labels = {key: event.label() for key, event in events.items()} if look.hop == "outbox" else {}
    return Hop(
        client=client, hop=look.hop, region=look.region, effect=look.effect, found=found, labels=labels, problem=problem
    )


def _query(dsn: str, query: LiteralString, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True, options=_STATEMENT_TIMEOUT) as link:
        return link.execute(query, parameters).fetchall()


def _once(rows: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    """How often each id, the first column, is there."""
    return dict(Counter(str(row[0]) for row in rows))


def _outbox(target: Target, ids: Collection[str], events: dict[str, Event]) -> dict[str, int]:
    """Fills `events`, too: by what the later hops know these writes."""
    rows = _query(target.observer_dsn, _OUTBOX, [list(ids)])
    events.update({key: Event(event, partition, position) for key, event, partition, position in rows})
    return _once(rows)


def _replica(target: Target, region: str, ids: Collection[str]) -> dict[str, int]:
    """Waits first until the replica has everything that the primary has now."""
    dsn = target.replica_dsn[region]
    now = _query(target.observer_dsn, "select pg_current_wal_lsn()::text")[0][0]
    reached: LiteralString = "select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= %s::pg_lsn"
    if until(lambda: _query(dsn, reached, [now])[0][0] or None, _WITHIN_S) is None:
        raise _Unreadable(f"expected it to replay up to {now} within {_WITHIN_S:.0f} s, it has not got there")
    return _once(_query(dsn, _PROJECTS, [list(ids)]))


def _stream(target: Target, ids: Collection[str], behind_seq: int) -> dict[str, int]:
    async def read() -> list[bus.Stored]:
        async with bus.observer(target) as client:
            last = await bus.last_event(client, STREAM, EVENTS)
            if last is None:
                return []
            return await bus.events(client, STREAM, EVENTS, behind_seq + 1, last.seq, within_s=_WITHIN_S)

    return messages_per_write((stored.event for stored in asyncio.run(read())), frozenset(ids))


def messages_per_write(events: Iterable[wire.Event], ids: Collection[str]) -> dict[str, int]:
    """How many messages carry the creation of each of these projects: an event that was stored twice counts 2."""
    return dict(
        Counter(event.aggregate_id for event in events if event.type == "created" and event.aggregate_id in ids)
    )


def _analytics(target: Target, events: Mapping[str, Event]) -> dict[str, int]:
    lowest = min((event.position for event in events.values() if event.position is not None), default=0)
    applied: dict[str, list[Range]] = {}
    for partition, first, last in _query(target.observer_dsn, _APPLIED, [list(PARTITIONS), lowest]):
        applied.setdefault(partition, []).append((first, last))
    return effects(events, applied)


def _invalidator(url: str, events: Mapping[str, Event], began_ns: int) -> dict[str, int]:
    """By the trace that the invalidator leaves in its Valkey, which forgets it when it is restarted."""
    cache = redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=_CACHE_TIMEOUT_S, socket_connect_timeout=_CACHE_TIMEOUT_S
    )
    with cache:
        up_s: int = cache.info("server")["uptime_in_seconds"]
        traces = {name: [str(entry) for entry in cache.lrange(_TRACE + name, 0, -1)] for name in PARTITIONS}
    ran_s = (time.monotonic_ns() - began_ns) / 1e9
    if up_s < ran_s:
        raise _Unreadable(
            f"the cache was started {up_s} s ago, after the first write ({ran_s:.0f} s ago): its trace is lost"
        )
    if any(len(trace) >= _TRACE_LENGTH_MAX for trace in traces.values()):
        raise _Unreadable(
            f"its trace holds no more than {_TRACE_LENGTH_MAX:,} ranges of a partition and may be cut off"
        )
    return effects(events, {name: [parse_range(text) for text in trace] for name, trace in traces.items()})


def _reconcile(target: Target) -> Count:
    """Whether analytics' roll-ups equal the sum over projects. Looked at again for some seconds while they do not:
    others may be writing, and a lost or doubled effect stays."""

    def unequal() -> int:
        return int(_query(target.observer_dsn, UNEQUAL_GROUPS)[0][0])

    settled = until(lambda: None if unequal() else True, _RECONCILED_WITHIN_S)
    left = 0 if settled else unequal()
    return Count(
        row="bus.exactly_once",
        value=float(left),
        unit="groups",
        how=HOW,
        ok=left == 0,
    )

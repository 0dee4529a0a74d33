"""The audit: after healing, look for every write of a ledger at every hop that it has to pass.

Each hop becomes one record: the database, each region's replica, the outbox, the stream, the effects of each
consumer in each region, and what some of them leave to look at (audit trail, live feeds, notifications). The audit
counts and judges nothing. A hop that cannot be read says why, and then proves nothing; a hop that lags is waited
for, so that what is late is not taken for lost. Only writes of this ledger are looked at: others may use the system
at the same time.
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

from infra.machine.waiting import until
from infra.target import Target
from ledger.coverage import Event, times_applied
from ledger.observe import bus
from ledger.observe.consumers import CutOff, feed, traces
from ledger.observe.rollups import HOW, UNEQUAL_GROUPS
from reports.evidence import Count, Hop, RunFolder
from system import wire
from system.wire import observer
from system.wire.observer import ConsumerInstance

_WITHIN_S = 10.0
_RECONCILED_WITHIN_S = 5.0
_STATEMENT_TIMEOUT = "-c statement_timeout=5000"
_NOT_BY_EVENTS = ("postgres", "outbox", "replica")
"""Hops that writes reach at once; the others take their time."""

_STREAM = wire.PROJECTS_STREAM.name
_EVENTS = wire.events_filter("projects")
_PROJECTS = f"select id::text from {observer.PROJECTS} where id = any(%s::uuid[])"
_OUTBOX = f"""
select aggregate_id, event_id::text, partition, position from {observer.EVENTS}
where aggregate = 'projects' and type = 'created' and aggregate_id = any(%s) order by id
"""
_TRAIL = f"select event_id::text from {observer.AUDIT_TRAIL} where event_id = any(%s::uuid[])"
_NOTIFIED = f"select event_id::text from {observer.NOTIFICATIONS} where event_id = any(%s::uuid[])"
_OUT_OF_ORDER = f"""
select count(*) from (
    select version, lag(version) over (partition by aggregate_id order by seq) as before from (
        select a.seq, o.aggregate_id,
            coalesce((o.after ->> 'version')::bigint, (o.before ->> 'version')::bigint + 1) as version
        from {observer.AUDIT_TRAIL} a join {observer.EVENTS} o using (event_id) where o.aggregate = 'projects'
    ) changes
) steps where version <> before + 1
"""
ORDER = "changes of projects that the audit trail does not show right behind the change before, version by version"


class _Unreadable(Exception):
    """The hop answers, but what it says does not reach up to now, or not back far enough."""


def last_event_seq(target: Target) -> int:
    """The stream sequence of the newest event, 0 if there is none: taken before a ledger's first write, it is
    where the audit of the stream begins. bus.BusError."""

    async def look() -> int:
        async with bus.observer(target) as client:
            last = await bus.last_frame(client, _STREAM, _EVENTS)
            return last.seq if last else 0

    return asyncio.run(look())


def audit(
    folder: RunFolder, client: str, target: Target, *, behind_seq: int, late: str | None, lost_region: str | None = None
) -> list[str]:
    """Look for the writes of the ledger `client` everywhere; write a Hop for each place, and a Count for whether
    analytics' totals add up and for the order of each project's changes. What could not be read, in words.

    `behind_seq` is what `last_event_seq` answered before the first write; `late` what `ledger.drain` still waited for.
    The effects in a region that was lost as a whole are not looked for: its cache, and with it their traces, is gone.
    """
    history = folder.write_history(client)
    ids = sorted({write.id for write in history})
    began_ns = min((write.at_ns for write in history), default=time.monotonic_ns())
    events: dict[str, Event] = {}
    looks = [
        Look("postgres", lambda: _once(_query(target.observer_dsn, _PROJECTS, [ids]))),
        Look("outbox", lambda: _outbox(target, ids, events)),
        Look("stream", lambda: _stream(target, ids, behind_seq)),
        *(Look("replica", partial(_replica, target, region, ids), region) for region in target.regions),
        *effect_looks(target, events, began_ns),
        Look("notification", lambda: _rows(target, _NOTIFIED, events), effect=True),
    ]
    problems = []
    for look in looks:
        if look.effect and look.region is not None and look.region == lost_region:
            continue
        hop = take(client, look, events)
        if late is not None and look.hop not in _NOT_BY_EVENTS:
            hop = doubt(hop, {write.id for write in history if write.outcome == "ok"}, late)
        folder.write_hop(hop)
        if hop.problem:
            problems.append(f"{look.hop}{f' in {look.region}' if look.region else ''}: {hop.problem}")
    for what, count in (("analytics' totals", reconcile), ("order in the audit trail", in_order)):
        try:
            with folder.facts() as facts:
                facts.add(count(target))
        except psycopg.Error as error:
            problems.append(f"{what}: {error}")
    return problems


class Look(NamedTuple):
    """A hop, and how to find out what of the ledger is there: write id -> how often."""

    hop: str
    find: Callable[[], dict[str, int]]
    region: str | None = None
    effect: bool = False


def effect_looks(target: Target, events: Mapping[str, Event], began_ns: int) -> list[Look]:
    """Where the effects of these events (write id -> event, perhaps filled later) can be looked for: at every consumer
    in every region, in the audit trail, and in the live feeds. `began_ns` is the instant of the first write."""
    return [
        *(
            Look(one.name, partial(_consumer, target, one, events, began_ns), one.region, effect=True)
            for one in observer.instances(target.regions)
        ),
        Look("audit-log", lambda: _rows(target, _TRAIL, events), effect=True),
        *(Look("feed", partial(_feed, target, region, events), region, effect=True) for region in target.regions),
    ]


def doubt(hop: Hop, acked: Collection[str], late: str) -> Hop:
    """A hop from which acknowledged writes are missing proves nothing while events are still under way: late is not
    lost. One where everything is there says what it says."""
    missing = len(set(acked) - hop.found.keys())
    if hop.problem or not missing:
        return hop
    return msgspec.structs.replace(hop, problem=f"{missing} writes may be late, not lost: waited in vain for {late}")


def take(client: str, look: Look, events: Mapping[str, Event]) -> Hop:
    """What was found, or why it could not be read. The outbox names the events for all hops."""
    found: dict[str, int] = {}
    problem = None
    try:
        found = look.find()
    except (psycopg.Error, bus.BusError, redis.RedisError, OSError, ValueError, CutOff, _Unreadable) as error:
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
    async def read() -> list[bus.Frame]:
        async with bus.observer(target) as client:
            last = await bus.last_frame(client, _STREAM, _EVENTS)
            if last is None:
                return []
            return await bus.frames(client, _STREAM, _EVENTS, behind_seq + 1, last.seq, within_s=_WITHIN_S)

    return copies_per_write((event for frame in asyncio.run(read()) for event in frame.events), frozenset(ids))


def copies_per_write(events: Iterable[wire.Event], ids: Collection[str]) -> dict[str, int]:
    """How often the creation of each of these projects is in the stream: an event that was stored twice counts 2."""
    return dict(
        Counter(event.aggregate_id for event in events if event.type == "created" and event.aggregate_id in ids)
    )


def _consumer(
    target: Target, instance: ConsumerInstance, events: Mapping[str, Event], began_ns: int
) -> dict[str, int]:  # fmt: skip
    """By the trace of what it applied."""
    known = {event.partition for event in events.values()}
    lowest = min((event.position for event in events.values() if event.position is not None), default=0)
    ran_s = (time.monotonic_ns() - began_ns) / 1e9
    return times_applied(events, traces(target, instance, known, lowest, ran_s))


def _rows(target: Target, query: LiteralString, events: Mapping[str, Event]) -> dict[str, int]:
    """By rows that carry the id of their event; `query` selects those of a list of ids."""
    times = _once(_query(target.observer_dsn, query, [[event.event_id for event in events.values()]]))
    return {key: times[event.event_id] for key, event in events.items() if event.event_id in times}


def _feed(target: Target, region: str, events: Mapping[str, Event]) -> dict[str, int]:
    """By what a browser of the region can be given: the live feed, and for what is older the outbox."""
    found: dict[str, int] = {}
    for partition in {event.partition for event in events.values()}:
        here = {key: event.position for key, event in events.items() if event.partition == partition and event.position}
        first, held = feed(target, region, partition, min(here.values(), default=1))
        found.update({key: 1 for key, position in here.items() if position in held or position < first})
    return found


def reconcile(target: Target) -> Count:
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


def in_order(target: Target) -> Count:
    """Whether the audit trail shows each project's changes in the order in which they were made, none left out."""
    wrong = int(_query(target.observer_dsn, _OUT_OF_ORDER)[0][0])
    return Count(row="bus.exactly_once", value=float(wrong), unit="changes", how=ORDER, ok=wrong == 0)

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
import urllib.error
import urllib.request
from collections.abc import Collection
from decimal import Decimal

import msgspec
import psycopg
import redis

from infra.machine.waiting import until
from infra.site import clients
from infra.target import Target
from ledger import contents
from ledger.looks import EVENTS, STREAM, Look, Sought, Unreadable, looks, query
from ledger.observe import bus
from ledger.observe.consumers import CutOff
from ledger.observe.rollups import HOW, UNEQUAL_GROUPS
from reports.evidence import Count, Hop, RunFolder
from system import wire
from system.wire import RegionTotals, observer

_SETTLED_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 5.0
_NOT_BY_EVENTS = ("postgres", "outbox", "replica")
"""Hops that writes reach at once; the others take their time."""

_OUT_OF_ORDER = f"""
select count(*) from (
    select version, lag(version) over (partition by aggregate_id, incarnation order by seq) as before from (
        select a.seq, o.aggregate_id, coalesce(o.after, o.before) ->> 'incarnation' as incarnation,
            coalesce((o.after ->> 'version')::bigint, (o.before ->> 'version')::bigint + 1) as version
        from {observer.AUDIT_TRAIL} a join {observer.EVENTS} o using (event_id) where o.aggregate = 'projects'
    ) changes
) steps where version <> before + 1
"""
ORDER = "changes of projects that the audit trail does not show right behind the change before, version by version"
_SUMS = f"select region, count(*), sum(funding_usd_millions) from {observer.PROJECTS} group by region"
TOTALS = "regions whose totals, read from the API, are not the sums over the projects"


class _Totals(msgspec.Struct):
    items: list[RegionTotals]


def last_event_seq(target: Target) -> int:
    """The stream sequence of the newest event, 0 if there is none: taken before a ledger's first write, it is
    where the audit of the stream begins. bus.BusError."""

    async def look() -> int:
        async with bus.observer(target) as client:
            last = await bus.last_frame(client, STREAM, EVENTS)
            return last.seq if last else 0

    return asyncio.run(look())


def audit(
    folder: RunFolder, client: str, target: Target, *, behind_seq: int, late: str | None, lost_region: str | None = None
) -> list[str]:
    """Look for the writes of the ledger `client` everywhere; write a Hop for each place, and a Count for whether
    analytics' totals add up, in its tables and from each API, and for the order of each project's changes. What could
    not be read, in words.

    `behind_seq` is what `last_event_seq` answered before the first write; `late` what `ledger.drain` still waited for.
    The effects in a region that was lost as a whole are not looked for: its cache, and with it their traces, is gone.
    """
    history = folder.write_history(client)
    began_ns = min((write.at_ns for write in history), default=time.monotonic_ns())
    acked = {write.id for write in history if write.outcome == "ok"}
    sought = Sought(history, began_ns, contents.key_of(target))
    problems = []
    for look in looks(target, sought, behind_seq):
        if look.effect and look.region is not None and look.region == lost_region:
            continue
        hop = take(client, look, sought)
        if late is not None and look.hop not in _NOT_BY_EVENTS:
            hop = doubt(hop, acked, late)
        folder.write_hop(hop)
        if hop.problem:
            problems.append(f"{look.hop}{f' in {look.region}' if look.region else ''}: {hop.problem}")
    reading = [region for region in target.regions if region != lost_region]
    for what, count in (
        ("analytics' totals", reconcile),
        ("order in the audit trail", in_order),
        ("totals from the API", lambda target: totals_agree(target, reading)),
    ):
        try:
            with folder.facts() as facts:
                facts.add(count(target))
        except (psycopg.Error, OSError, clients.NoToken, msgspec.MsgspecError) as error:
            problems.append(f"{what}: {error}")
    return problems


def doubt(hop: Hop, acked: Collection[str], late: str) -> Hop:
    """A hop from which acknowledged writes are missing proves nothing while events are still under way: late is not
    lost. One where everything is there says what it says."""
    missing = len(set(acked) - hop.found.keys())
    if hop.problem or not missing:
        return hop
    return msgspec.structs.replace(hop, problem=f"{missing} writes may be late, not lost: waited in vain for {late}")


def take(client: str, look: Look, sought: Sought) -> Hop:
    """What was found, or why it could not be read. The outbox names the events for all hops."""
    there = contents.There({}, {})
    problem = None
    try:
        there = look.find()
    except (
        psycopg.Error, bus.BusError, redis.RedisError, OSError, ValueError, msgspec.MsgspecError, CutOff, Unreadable,
    ) as error:  # fmt: skip
        problem = str(error).strip() or type(error).__name__
    labels = {name: known.event.label() for name, known in sought.known.items()} if look.hop == "outbox" else {}
    return Hop(
        client=client, hop=look.hop, region=look.region, effect=look.effect, found=there.found, labels=labels,
        contents=there.contents, problem=problem,
    )  # fmt: skip


def reconcile(target: Target) -> Count:
    """Whether analytics' roll-ups equal the sum over projects. Looked at again for some seconds while they do not:
    others may be writing, and a lost or doubled effect stays."""

    def unequal() -> int:
        return int(query(target.observer_dsn, UNEQUAL_GROUPS)[0][0])

    settled = until(lambda: None if unequal() else True, _SETTLED_WITHIN_S)
    left = 0 if settled else unequal()
    return Count(row="bus.exactly_once", value=float(left), unit="groups", how=HOW, ok=left == 0)


def in_order(target: Target) -> Count:
    """Whether the audit trail shows each project's changes in the order in which they were made, none left out."""
    wrong = int(query(target.observer_dsn, _OUT_OF_ORDER)[0][0])
    return Count(row="bus.exactly_once", value=float(wrong), unit="changes", how=ORDER, ok=wrong == 0)


def totals_agree(target: Target, regions: Collection[str]) -> Count:
    """Whether the totals that the API of each of these regions gives, from its cache or not, are the sums over the
    projects: what analytics and the cache invalidator did, as users see it. Looked at again for some seconds, as in
    `reconcile`. OSError, clients.NoToken, msgspec.MsgspecError."""
    token = clients.token(target, "reader", None)

    def wrong() -> list[str]:
        sums = {row[0]: (int(row[1]), Decimal(row[2])) for row in query(target.observer_dsn, _SUMS)}
        found = []
        for region in regions:
            for totals in _totals(target, region, token):
                expected, said = sums.get(totals.id, (0, Decimal(0))), (totals.projects, totals.funding_usd_millions)
                if said != expected:
                    found.append(
                        f"{totals.id} as read in {region}: {said[0]} projects, {said[1]} million, expected"
                        f" {expected[0]}, {expected[1]}"
                    )
        return found

    settled = until(lambda: None if wrong() else True, _SETTLED_WITHIN_S)
    left = [] if settled else wrong()
    how = TOTALS + (f": {'; '.join(left[:3])}" if left else "")
    return Count(row="ledger.contents", value=float(len(left)), unit="totals", how=how, ok=not left)


def _totals(target: Target, region: str, token: str) -> list[RegionTotals]:
    request = urllib.request.Request(target.api[region] + wire.REGIONS, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as answer:
        return msgspec.json.decode(answer.read(), type=_Totals).items

"""The audit of changes: every event that there is, at every consumer in every region, once; and every write of a
ledger named `<project>:<version>` at every hop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, LiteralString, NamedTuple

import psycopg
import redis

from infra.target import Target
from ledger.audit import in_order, reconcile, take, totals_agree
from ledger.contents import key_of
from ledger.coverage import coverage
from ledger.drain import drain
from ledger.looks import Sought, looks
from ledger.observe.consumers import CutOff, traces
from reports.evidence import RunFolder
from reports.findings.ledger import check, hop_name
from system import wire
from system.wire import observer

_DRAINED_WITHIN_S = 240.0
_TOLD_MAX = 5

_HEADS = "select partition, next_position - 1 from relay_partition"
_AT = "select event_id::text from outbox_events where partition = %s and position = %s"
_NOTIFIED = """
select e.event_id::text, e.type, count(n.event_id) from outbox e left join notification n using (event_id)
where e.aggregate = 'projects' and e.aggregate_id = any(%s) group by 1, 2
having count(n.event_id) <> (case when e.type = 'created' then 1 else 0 end)
"""
_VERSIONS = "select id::text, version from projects where id = any(%s::uuid[])"


class Found(NamedTuple):
    """`wrong`: what is lost, doubled or out of order, each with event, partition, position and consumer."""

    wrong: list[str]
    events: int
    """How many events each consumer had to apply."""


def look(
    folder: RunFolder, client: str, target: Target, versions: Mapping[str, int | None], began_ns: int
) -> Found:  # fmt: skip
    """Wait until everything has run through, then look for it. `versions` is what each project must be at now, None
    for gone; `began_ns` the instant of the ledger's first write."""
    projects = list(versions)
    heads = {partition: int(head) for partition, head in _rows(target, _HEADS)}
    late = drain(target, _DRAINED_WITHIN_S)
    wrong = [] if late is None else [f"not run through after {_DRAINED_WITHIN_S:.0f} s: waited in vain for {late}"]
    wrong += _ledger(folder, client, target, began_ns)
    wrong += _every_position(target, heads, began_ns)
    there = dict(_rows(target, _VERSIONS, projects))
    for project, version in versions.items():
        if there.get(project) != version:
            wrong.append(f"project {project}: expected version {version}, found {there.get(project)}")
    wrong += [
        f"event {event}, {kind}: {count} notifications" for event, kind, count in _rows(target, _NOTIFIED, projects)
    ]
    wrong += [
        f"{count.how}: {count.value:g}"
        for count in (reconcile(target), in_order(target), totals_agree(target, target.regions))
        if not count.ok
    ]
    return Found(wrong, sum(heads.values()))


def _ledger(folder: RunFolder, client: str, target: Target, began_ns: int) -> list[str]:
    """Every acknowledged write once, as it was written, in the outbox, the database and at every consumer; nothing
    that nobody wrote."""
    history = folder.write_history(client)
    sought = Sought(history, began_ns, key_of(target))
    places = [each for each in looks(target, sought, behind_seq=0) if each.hop != "stream"]
    hops = [take(client, each, sought) for each in places]
    wrong = []
    for hop in check(client, history, [], hops).hops:
        if hop.problem is not None:
            wrong.append(f"{hop_name(hop)}: {hop.problem}")
        for count, word, examples in (
            (hop.lost, "lost", hop.lost_examples),
            (hop.duplicated, "doubled", hop.duplicated_examples),
            (hop.unexpected, "without a write", hop.unexpected_examples),
            (hop.wrong, "not as written", hop.wrong_examples),
            (hop.uncompared, "without contents", []),
        ):
            if count:
                wrong.append(f"{hop_name(hop)}: {count} {word}: {'; '.join(examples)}")
    return wrong


def _every_position(target: Target, heads: Mapping[str, int], began_ns: int) -> list[str]:
    """Every event of every aggregate, by its position, once at every consumer."""
    wrong = []
    ran_s = (time.monotonic_ns() - began_ns) / 1e9
    for consumer in observer.instances(target.regions):
        try:
            applied = traces(target, consumer, wire.ALL_PARTITIONS, 1, ran_s)
        except (psycopg.Error, redis.RedisError, CutOff) as error:
            wrong.append(f"{consumer}: {error}")
            continue
        for partition, head in heads.items():
            counts = coverage(applied[partition], range(1, head + 1))
            off = {position: times for position, times in counts.items() if times != 1}
            for position, times in list(off.items())[:_TOLD_MAX]:
                event = next((row[0] for row in _rows(target, _AT, partition, position)), "that the outbox has not")
                wrong.append(f"{consumer}: event {event}, {partition} position {position}, took effect {times} times")
            if len(off) > _TOLD_MAX:
                wrong.append(f"{consumer}: and {len(off) - _TOLD_MAX} more events of {partition}")
    return wrong


def _rows(target: Target, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(target.observer_dsn, autocommit=True) as link:
        return link.execute(query, parameters).fetchall()

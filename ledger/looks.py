"""The places where the writes of a ledger are looked for: how each is read, and what it says of them.

The database and each replica hold the last state of a project; the outbox, the stream, the audit trail and the live
feeds hold every event; a consumer's trace says which positions it has applied; notifications say some of it in words.
Each answers with the names of the writes that are there, and, where it holds contents, with what they say.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, LiteralString, NamedTuple

import msgspec
import psycopg

from infra.machine.waiting import until
from infra.target import Target
from ledger import contents
from ledger.contents import Lives, Step, There
from ledger.coverage import Event, times_applied
from ledger.observe import bus
from ledger.observe.consumers import feed, traces
from reports.evidence import Write
from reports.evidence.write_names import read_name
from system import wire
from system.wire import Project, ProjectEvent, observer
from system.wire.observer import ConsumerInstance

_WITHIN_S = 10.0
_STATEMENT_TIMEOUT = "-c statement_timeout=5000"
STREAM = wire.PROJECTS_STREAM.name
EVENTS = wire.events_filter("projects")
_COLUMNS = ", ".join(f"{name}::text" if name == "id" else name for name in observer.PROJECTS.columns)
_PROJECTS = f"select {_COLUMNS} from {observer.PROJECTS} where id = any(%s::uuid[])"
_OUTBOX = f"""
select event_id::text, partition, position, before::text, after::text from {observer.EVENTS}
where aggregate = 'projects' and aggregate_id = any(%s) order by id
"""
_TRAIL = f"select event_id::text, entry from {observer.AUDIT_TRAIL} where event_id = any(%s::uuid[])"
_NOTIFIED = (
    f"select event_id::text, topic, title, body::text from {observer.NOTIFICATIONS} where event_id = any(%s::uuid[])"
)
_project = msgspec.json.Decoder(Project).decode
_event = msgspec.json.Decoder(ProjectEvent).decode


class Unreadable(Exception):
    """The hop answers, but what it says does not reach up to now, or not back far enough."""


class Known(NamedTuple):
    """An event as the outbox has it."""

    event: Event
    before: Project | None
    after: Project | None
    step: Step


class Sought:
    """The writes that are looked for, and what the outbox says of them, by which the hops behind it know them."""

    def __init__(self, history: Sequence[Write], began_ns: int, key: bytes) -> None:
        """`began_ns`: the instant of the first of them; `key`: that of their digests."""
        self.history = history
        self.began_ns = began_ns
        self.key = key
        self.projects = sorted({read_name(write.id).project for write in history})
        self.lives = Lives(())
        self.known: dict[str, Known] = {}
        """Write id -> its event; empty until the outbox was read."""

    @property
    def events(self) -> dict[str, Event]:
        return {name: known.event for name, known in self.known.items()}

    @property
    def by_event(self) -> dict[str, tuple[str, Known]]:
        """Event id -> (write id, its event)."""
        return {known.event.event_id: (name, known) for name, known in self.known.items()}


class Look(NamedTuple):
    """A hop, and how to find out what of the ledger is there."""

    hop: str
    find: Callable[[], There]
    region: str | None = None
    effect: bool = False


def looks(target: Target, sought: Sought, behind_seq: int) -> list[Look]:
    """Everywhere, the outbox first."""
    return [
        Look("outbox", lambda: _outbox(target, sought)),
        Look("postgres", lambda: _rows(target.observer_dsn, sought)),
        Look("stream", lambda: _stream(target, sought, behind_seq)),
        *(Look("replica", partial(_replica, target, region, sought), region) for region in target.regions),
        *effect_looks(target, sought),
    ]


def effect_looks(target: Target, sought: Sought) -> list[Look]:
    """Where the effects of these writes can be looked for: at every consumer in every region, in the audit trail, in
    the notifications and in the live feeds."""
    return [
        *(
            Look(one.name, partial(_consumer, target, one, sought), one.region, effect=True)
            for one in observer.instances(target.regions)
        ),
        Look("audit-log", lambda: _trail(target, sought), effect=True),
        Look("notification", lambda: _notified(target, sought), effect=True),
        *(Look("feed", partial(_feed, target, region, sought), region, effect=True) for region in target.regions),
    ]


def query(dsn: str, text: LiteralString, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """The rows of a short query. psycopg.Error."""
    with psycopg.connect(dsn, autocommit=True, options=_STATEMENT_TIMEOUT) as link:
        return link.execute(text, parameters).fetchall()


def _outbox(target: Target, sought: Sought) -> There:
    """Fills what `sought` knows, too."""
    found = []
    for event_id, partition, position, before, after in query(target.observer_dsn, _OUTBOX, [sought.projects]):
        was, now = before and _project(before), after and _project(after)
        found.append(
            Known(Event(event_id, partition, position), was, now, contents.step_of(was, now, sought.key))
        )  # fmt: skip
    sought.lives = Lives((each.step.project, each.step.incarnation) for each in found if each.step.created)
    sought.known = {sought.lives.write_id(*each.step[:3]): each for each in found}
    return contents.in_events((each.step for each in found), sought.lives)


def _rows(dsn: str, sought: Sought) -> There:
    names = observer.PROJECTS.columns
    rows = query(dsn, _PROJECTS, [sought.projects])
    items = [msgspec.convert(dict(zip(names, row, strict=True)), Project) for row in rows]
    return contents.in_states(items, sought.history, sought.lives, sought.key)


def _replica(target: Target, region: str, sought: Sought) -> There:
    """Waits first until the replica has everything that the primary has now."""
    dsn = target.replica_dsn[region]
    now = query(target.observer_dsn, "select pg_current_wal_lsn()::text")[0][0]
    reached: LiteralString = "select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= %s::pg_lsn"
    if until(lambda: query(dsn, reached, [now])[0][0] or None, _WITHIN_S) is None:
        raise Unreadable(f"expected it to replay up to {now} within {_WITHIN_S:.0f} s, it has not got there")
    return _rows(dsn, sought)


def _stream(target: Target, sought: Sought, behind_seq: int) -> There:
    async def read() -> list[bus.Frame]:
        async with bus.observer(target) as client:
            last = await bus.last_frame(client, STREAM, EVENTS)
            if last is None:
                return []
            return await bus.frames(client, STREAM, EVENTS, behind_seq + 1, last.seq, within_s=_WITHIN_S)

    projects = frozenset(sought.projects)
    events = [event for frame in asyncio.run(read()) for event in frame.events if event.aggregate_id in projects]
    return in_copies(events, sought)


def in_copies(events: Iterable[wire.Event], sought: Sought) -> There:
    """What a place holds that keeps the events whole. One that is there twice counts 2. One that is not as the outbox
    has it says in what it differs, so that it can equal no digest."""
    by_event = sought.by_event
    there = There({}, {})
    for event in events:
        if not isinstance(event, ProjectEvent):
            continue
        step = contents.step_of(event.before, event.after, sought.key)
        name, known = by_event.get(event.id, ("", None))
        said = step.says
        if known is None:
            name = sought.lives.write_id(*step[:3])
        elif differs := _differs(event, known):
            said = f"another {', '.join(differs)} than the outbox has"
        there.found[name] = there.found.get(name, 0) + 1
        if there.contents.setdefault(name, said) != said:
            there.contents[name] = said
    return there


def _differs(event: ProjectEvent, known: Known) -> list[str]:
    pairs = {
        "partition": (event.partition, known.event.partition),
        "position": (event.position, known.event.position),
        "before": (event.before, known.before),
        "after": (event.after, known.after),
        "type": (event.type, _type(known)),
        "project": (event.aggregate_id, known.step.project),
    }
    return [name for name, (found, expected) in pairs.items() if found != expected]


def _type(known: Known) -> str:
    if known.before is None:
        return "created"
    return "deleted" if known.after is None else "updated"


def _consumer(target: Target, instance: ConsumerInstance, sought: Sought) -> There:
    """By the trace of what it applied, which holds no contents."""
    events = sought.events
    partitions = {event.partition for event in events.values()}
    lowest = min((event.position for event in events.values() if event.position is not None), default=0)
    ran_s = (time.monotonic_ns() - sought.began_ns) / 1e9
    return There(times_applied(events, traces(target, instance, partitions, lowest, ran_s)), {})


def _trail(target: Target, sought: Sought) -> There:
    rows = query(target.observer_dsn, _TRAIL, [list(sought.by_event)])
    return in_copies((_event(entry) for _, entry in rows), sought)


def _feed(target: Target, region: str, sought: Sought) -> There:
    """By what a browser of the region can be given: the live feed, and for what is older the outbox."""
    there = There({}, {})
    for partition in {known.event.partition for known in sought.known.values()}:
        here = {
            name: known
            for name, known in sought.known.items()
            if known.event.partition == partition and known.event.position
        }
        positions = {known.event.position or 0 for known in here.values()}
        first, held = feed(target, region, partition, min(positions, default=1))
        copies = in_copies((_event(held[position]) for position in sorted(positions & held.keys())), sought)
        there.found.update(copies.found)
        there.contents.update(copies.contents)
        older = {name: known for name, known in here.items() if (known.event.position or 0) < first}
        there.found.update(dict.fromkeys(older, 1))
        there.contents.update({name: known.step.says for name, known in older.items()})
    return there


def _notified(target: Target, sought: Sought) -> There:
    """People are notified of a new project and of a change of its status; of anything else they are not, which counts
    as found."""
    by_event = sought.by_event
    rows = query(target.observer_dsn, _NOTIFIED, [list(by_event)])
    times = Counter(row[0] for row in rows)
    said = {row[0]: row[1:] for row in rows}
    there = There({}, {})
    for event_id, (name, known) in by_event.items():
        due = known.after is not None and (known.before is None or known.before.status != known.after.status)
        if count := times[event_id] + (0 if due else 1):
            there.found[name] = count
        if event_id in said and known.after is not None:
            wrong = _unlike(known.after, *said[event_id])
            there.contents[name] = f"another {wrong} than the outbox has" if wrong else known.step.says
        elif not due:
            there.contents[name] = known.step.says
    return there


def _unlike(project: Project, topic: str, title: str, body: str) -> str | None:
    """What of a project its notification does not say as it is."""
    found = msgspec.json.decode(body)
    text = str(found.get("text", ""))
    checks = {
        "region": topic == f"region.{project.region}",
        "name": project.name in title,
        "id": found.get("id") == project.id,
        "status": found.get("status") == project.status and project.status.lower() in f"{title} {text}",
        "sector": project.sector in text,
        "country": project.country_code in text,
    }
    return next((name for name, holds in checks.items() if not holds), None)

"""A simulated store that keeps its word, and the history that its clients record.

A linearizable primary, replicas and caches that lag, but within their bounds, clients that never go back, because they
ask the primary where a replica knows less than they do. Everything else that may legally happen does: writes that end
unknown and happen before, after or never, conflicts, failures, deletes and creates anew under the same id, a commit
that replicas show before the primary does (as PostgreSQL's may), items that others write, pages while items move.
One unit of time is one ns; everything follows from the seed.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ledger.sessions import Initial, Page, Read, Record, Shown, Write
from reports.evidence import Outcome

REPLICA_NS, CACHE_NS = 60, 120
SOURCES = {"primary": 0, "replica": REPLICA_NS, "cache": CACHE_NS}
REGIONS = ("iad", "ams", "syd")
Kind = Literal["create", "update", "delete"]


class Version(NamedTuple):
    """A state of an item; `value` is what it says, by which it can be sorted and filtered."""

    incarnation: str
    version: int
    value: int

    @property
    def digest(self) -> str:
        return f"d{self.value}"

    @property
    def lists(self) -> tuple[str, ...]:
        return ("all", "even") if self.value % 2 == 0 else ("all",)


class Commit(NamedTuple):
    """From `at` replicas may show it, from `shown_at` the primary does."""

    at: int
    shown_at: int
    state: Version | None


@dataclass
class History:
    records: list[Record]
    initial: list[Initial]
    complete: bool
    keep_ns: int


@dataclass(eq=False)
class _Client:
    name: str
    region: str
    seen: dict[str, int] = field(default_factory=dict)
    """By item how many of its commits the client has seen: it must not see less."""
    own: dict[str, int] = field(default_factory=dict)
    """The same of its own acknowledged writes."""
    known: dict[str, Version] = field(default_factory=dict)
    walks: int = 0


class Store:
    def __init__(self, seed: int, operations: int = 60) -> None:
        self._dice = dice = random.Random(seed)
        self._left = operations
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self.now = 0
        self._commits: dict[str, list[Commit]] = {}
        self._incarnations = 0
        self._applied = dict.fromkeys((*REGIONS, "cache"), 0)
        """Up to which instant each replica shows the primary's commits."""
        self._records: list[Record] = []
        self._initial: list[Initial] = []
        self._complete = dice.random() < 0.7
        self._values = dice.choice((4, 1_000_000))
        """Few values: the same contents come again."""
        self._ids = [f"i{number}" for number in range(dice.randint(1, 5))]
        self._foreign: list[str] = []
        """Others write them, too."""
        self._unlisted: list[str] = []
        """Nothing tells that they were there; so these clients must not create them anew."""
        self._begin()
        for number in range(dice.randint(1, 5)):
            client = _Client(f"s{number}", dice.choice(REGIONS))
            for _ in range(dice.choice((1, 1, 1, 1, 2, 4))):  # Some do several things at a time.
                self._at(dice.randint(1, 30), self._next(client))

    def _begin(self) -> None:
        for key in [*self._ids]:
            kind = self._dice.choice(("made here", "known", "unknown"))
            if kind == "made here":
                continue
            state = Version(self._new_incarnation(), self._dice.randint(1, 4), self._value())
            self._commits[key] = [Commit(0, 0, state)]
            if kind == "known":
                digest = state.digest if self._dice.random() < 0.8 else None
                self._initial.append(
                    Initial(
                        id=key, incarnation=state.incarnation, version=state.version, digest=digest, lists=state.lists
                    )
                )
                continue
            self._foreign.append(key)
            if self._complete or self._dice.random() < 0.5:
                self._initial.append(Initial(id=key))
            else:
                self._unlisted.append(key)
        if self._foreign:
            self._at(self._dice.randint(1, 40), self._foreign_write)

    def run(self) -> History:
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
        keep_ns = self._dice.choice((50, 300, 10**9))
        return History(self._records, self._initial, self._complete, keep_ns)

    # Time.

    def _at(self, instant: int, event: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (instant, self._sequence, event))

    def _next(self, client: _Client) -> Callable[[], None]:
        def go() -> None:
            if self._left <= 0:
                return
            self._left -= 1
            roll = self._dice.random()
            if roll < 0.45:
                self._read(client)
            elif roll < 0.85:
                self._write(client)
            else:
                self._walk(client)

        return go

    def _done(self, client: _Client, record: Record) -> None:
        """The operation completes now."""
        self._records.append(record)
        self._again(client)

    def _again(self, client: _Client) -> None:
        self._at(self.now + self._dice.randint(0, 15), self._next(client))

    # What is there.

    def _value(self) -> int:
        return self._dice.randrange(self._values)

    def _new_incarnation(self) -> str:
        self._incarnations += 1
        return f"n{self._incarnations}"

    def _primary(self, key: str) -> int:
        """How many commits of an item the primary shows now."""
        commits = self._commits.get(key, [])
        return bisect_right(commits, self.now, key=lambda commit: commit.shown_at)

    def _lagging(self, key: str, where: str) -> int:
        commits = self._commits.get(key, [])
        return bisect_right(commits, self._applied[where], key=lambda commit: commit.at)

    def _state(self, key: str, count: int) -> Version | None:
        return self._commits[key][count - 1].state if count else None

    def _foreign_write(self) -> None:
        """Somebody who is in no history changes an item."""
        key = self._dice.choice(self._foreign)
        current = self._state(key, self._primary(key))
        if current is not None and self._commits[key][-1].shown_at <= self.now:
            state = (
                None
                if self._dice.random() < 0.1
                else current._replace(version=current.version + 1, value=self._value())
            )
            self._commits[key].append(Commit(self.now, self.now, state))
        if self._left > 0:
            self._at(self.now + self._dice.randint(20, 200), self._foreign_write)

    # Reads.

    def _choose(self, client: _Client, fresh: bool, keys: list[str]) -> tuple[str, dict[str, int]] | None:
        """Who answers, and how many commits of each item it shows; None: the primary has to wait."""
        least = {key: max(client.seen.get(key, 0), client.own.get(key, 0) if fresh else 0) for key in keys}
        source = self._dice.choice(("primary", "replica", "cache"))
        where, bound = {"primary": ("", 0), "replica": (client.region, REPLICA_NS), "cache": ("cache", CACHE_NS)}[
            source
        ]
        if source != "primary":
            lag = self._dice.choice((0, self._dice.randint(0, bound), bound))
            self._applied[where] = max(self._applied[where], self.now - lag)
            counts = {key: self._lagging(key, where) for key in keys}
            if all(counts[key] >= least[key] for key in keys):
                return source, counts
        counts = {key: self._primary(key) for key in keys}
        return ("primary", counts) if all(counts[key] >= least[key] for key in keys) else None

    def _read(self, client: _Client) -> None:
        key, fresh, invoked = self._dice.choice(self._ids), self._dice.random() < 0.4, self.now
        looked_at = self._dice.random() < 0.9

        def answer() -> None:
            chosen = self._choose(client, fresh, [key])
            if chosen is None:
                self._at(self.now + 1, answer)
                return
            source, counts = chosen
            state = self._state(key, counts[key])

            def complete() -> None:
                client.seen[key] = max(client.seen.get(key, 0), counts[key])
                if state is not None:
                    client.known[key] = state
                self._done(client, self._record(client, key, source, invoked, state, looked_at, fresh))

            self._at(self.now + self._dice.randint(0, 10), complete)

        self._at(self.now + self._dice.randint(0, 10), answer)

    def _record(
        self, client: _Client, key: str, source: str, invoked: int, state: Version | None, looked_at: bool, fresh: bool
    ) -> Read:
        return Read(
            session=client.name, id=key, source=source, region=client.region, invoked_ns=invoked, completed_ns=self.now,
            incarnation=state and state.incarnation, version=state.version if state else 0,
            digest=state.digest if state and looked_at else None, fresh=fresh,
        )  # fmt: skip

    def _walk(self, client: _Client) -> None:
        """Page by page, from the begin of a list to its end, if it isn't given up before."""
        client.walks += 1
        name, collection = f"w{client.walks}", self._dice.choice(("all", "even"))
        sort, fresh = self._dice.choice(("id", "-id", "value")), self._dice.random() < 0.3
        limit = self._dice.randint(1, 3)
        descending = sort == "-id"

        def place(key: str, state: Version) -> tuple[object, str]:
            return (state.value if sort == "value" else key, key)

        def page(number: int, after: tuple[object, str] | None) -> None:
            invoked = self.now

            def answer() -> None:
                chosen = self._choose(client, fresh, self._ids)
                if chosen is None:
                    self._at(self.now + 1, answer)
                    return
                source, counts = chosen
                there = {key: state for key in self._ids if (state := self._state(key, counts[key])) is not None}
                rows = sorted(
                    ((place(key, state), key, state) for key, state in there.items() if collection in state.lists),
                    key=lambda row: row[0], reverse=descending,
                )  # fmt: skip
                if after is not None:
                    rows = [row for row in rows if (row[0] < after if descending else row[0] > after)]
                more, rows = len(rows) > limit, rows[:limit]

                def complete() -> None:
                    for _, key, state in rows:
                        client.seen[key] = max(client.seen.get(key, 0), counts[key])
                        client.known[key] = state
                    shown = tuple(self._shown(sort, key, state) for _, key, state in rows)
                    record = Page(
                        session=client.name, walk=name, number=number, collection=collection, source=source,
                        region=client.region, invoked_ns=invoked, completed_ns=self.now, items=shown, last=not more,
                        sort=sort, fresh=fresh,
                    )  # fmt: skip
                    self._records.append(record)
                    if more and self._dice.random() < 0.9:
                        self._at(self.now + self._dice.randint(0, 10), lambda: page(number + 1, rows[-1][0]))
                    else:
                        self._again(client)

                self._at(self.now + self._dice.randint(0, 10), complete)

            self._at(self.now + self._dice.randint(0, 10), answer)

        page(1, None)

    def _shown(self, sort: str, key: str, state: Version) -> Shown:
        return Shown(
            id=key, incarnation=state.incarnation, version=state.version, digest=state.digest,
            key=state.value if sort == "value" else None,
        )  # fmt: skip

    # Writes.

    def _write(self, client: _Client) -> None:
        key, invoked, value = self._dice.choice(self._ids), self.now, self._value()
        known = client.known.get(key)
        kinds: tuple[Kind, ...] = ("create", "update", "update", "update", "delete")
        kind = self._dice.choice(kinds)
        if kind == "create" and key in self._unlisted:
            kind = "update"
        if kind == "create" or known is None or self._dice.random() < 0.2:
            known = None  # A create, or `*`.
        effect = invoked + self._dice.randint(0, 20)
        gives_up = self._dice.random() < 0.15
        timeout = invoked + self._dice.randint(0, 60)
        if gives_up:
            if self._dice.random() < 0.7:
                late = self._dice.choice((effect, invoked + self._dice.randint(0, 200)))
                self._at(late, lambda: self._commit(key, kind, known, value, lambda *_: None))
            self._at(timeout, lambda: self._ended(client, key, kind, known, value, invoked, "unknown", None))
            return

        def committed(conflict: bool, state: Version | None, count: int, shown_at: int) -> None:
            def complete() -> None:
                if count:
                    client.own[key] = max(client.own.get(key, 0), count)
                    if state is not None and kind != "delete":
                        client.known[key] = state
                outcome: Outcome = "ok" if count else "fail"
                self._ended(client, key, kind, known, value, invoked, outcome, state, conflict)

            self._at(shown_at + self._dice.randint(0, 20), complete)

        if self._dice.random() < 0.1:
            self._at(effect, lambda: committed(False, None, 0, self.now))  # Refused for whatever reason.
        else:
            self._at(effect, lambda: self._commit(key, kind, known, value, committed))

    def _commit(
        self, key: str, kind: Kind, known: Version | None, value: int,
        then: Callable[[bool, Version | None, int, int], None],
    ) -> None:  # fmt: skip
        """Happens now, if it may; calls `then` with (conflict, state, which commit of the item or 0, shown at)."""
        commits = self._commits.setdefault(key, [])
        if commits and commits[-1].shown_at > self.now:
            self._at(commits[-1].shown_at, lambda: self._commit(key, kind, known, value, then))
            return
        current = commits[-1].state if commits else None
        if kind == "create":
            if current is not None:
                then(False, None, 0, self.now)
                return
            state = Version(self._new_incarnation(), 1, value)
        elif current is None or (known is not None and (known.incarnation, known.version) != current[:2]):
            then(known is not None, None, 0, self.now)
            return
        else:
            state = Version(current.incarnation, current.version + 1, value)
        shown_at = self.now + self._dice.choice((0, 0, 0, 5, 15))
        commits.append(Commit(self.now, shown_at, None if kind == "delete" else state))
        then(False, current if kind == "delete" else state, len(commits), shown_at)

    def _ended(
        self, client: _Client, key: str, kind: Kind, known: Version | None, value: int, invoked: int, outcome: Outcome,
        state: Version | None, conflict: bool = False,
    ) -> None:  # fmt: skip
        incarnation, version = known and known.incarnation, None
        if outcome == "ok" and state is not None:
            if kind != "delete":
                incarnation, version = state.incarnation, state.version
            elif self._dice.random() < 0.5:
                incarnation = state.incarnation
        said = Version("", 0, value)
        record = Write(
            session=client.name, id=key, kind=kind, outcome=outcome, invoked_ns=invoked, completed_ns=self.now,
            incarnation=incarnation, base=known and known.version, version=version, conflict=conflict,
            digest=None if kind == "delete" else said.digest, lists=None if kind == "delete" else said.lists,
        )  # fmt: skip
        self._done(client, record)


def history(seed: int, operations: int = 60) -> History:
    return Store(seed, operations).run()

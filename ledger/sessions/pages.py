"""Judges pages of lists: in order, without doubles, complete, ending.

A page of a list by id covers the ids behind the page before, up to its last one or, on the last page, the end: what
was there throughout and belongs to the list must be on it. In a list by another field an item may move while a client
walks, so only a walk as a whole can be incomplete, and only without items that nobody changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import lt

from ledger.sessions.anomalies import ENDLESS, INCOMPLETE, NON_MONOTONIC, OUT_OF_ORDER, OWN_WRITE, Kind
from ledger.sessions.history import BY_ID, Incarnation, Key, Page
from ledger.sessions.reads import Reads
from ledger.sessions.state import SessionState, State
from ledger.sessions.versions import DELETED, IncarnationState, ItemState

Place = tuple[Key, str]
"""Where an item stands in a list: its sort value, its id."""


_MISSING_MAX = 100
"""So many items that a page lacks are noted."""


class Walk:
    """The pages of a walk so far. A session has one at a time."""

    __slots__ = ("began_ns", "bound_ns", "fresh", "last", "name", "number", "shown")

    def __init__(self, name: str, began_ns: int) -> None:
        self.name = name
        self.began_ns = began_ns
        self.number = 0
        self.bound_ns = 0
        """The greatest of its pages' sources."""
        self.fresh = True
        """All its pages are."""
        self.last: Place | None = None
        self.shown: dict[str, tuple[Incarnation, int]] = {}
        """Its items, if it isn't sorted by id."""


class Pages:
    def __init__(self, state: State, reads: Reads) -> None:
        self._state = state
        self._reads = reads
        self._walks: dict[str, Walk] = {}
        """By session."""
        self.pages = 0
        self.shown = 0
        self.ended = 0

    def page(self, record: Page) -> None:
        """ValueError for a source without a bound."""
        state = self._state
        bound_ns = state.source(record.source).bound_ns
        session = state.session(record.session)
        self.pages += 1
        self.shown += len(record.items)
        for shown in record.items:
            item = state.items.get(shown.id) or state.item(shown.id)
            self._reads.present(record, bound_ns, session, item, shown.incarnation, shown.version, shown.digest)
        walk = self._walk(record, bound_ns)
        after = None if walk is None else walk.last
        ordered, last = self._in_order(record, after)
        if not record.items and not record.last:
            expected = "items on every page but the last"
            state.tally.report(ENDLESS, record, record.collection, None, None, expected, "none, and a next page")
        if walk is None:
            return
        walk.last = last
        if record.sort not in BY_ID:
            self._doubles(record, walk.shown)
            if record.last and ordered:
                lacks = [key for key in state.lists.ids(record.collection).page(None, None) if key not in walk.shown]
                self._incomplete(record, walk.bound_ns, walk.fresh, session, lacks, walk.began_ns)
        elif ordered and (record.items or record.last):
            on_it = {shown.id for shown in record.items}
            lacks = [key for key in self._range(record, after) if key not in on_it]
            self._incomplete(record, bound_ns, record.fresh, session, lacks, record.invoked_ns)
        if record.last:
            self.ended += 1
            del self._walks[record.session]

    def _walk(self, record: Page, bound_ns: int) -> Walk | None:
        """The walk that a page belongs to; None if the pages before it are not known."""
        walk = self._walks.get(record.session)
        if record.number == 1:
            walk = self._walks[record.session] = Walk(record.walk, record.invoked_ns)
        elif walk is None or walk.name != record.walk or walk.number != record.number - 1:
            return None
        walk.number = record.number
        walk.bound_ns = max(walk.bound_ns, bound_ns)
        walk.fresh = walk.fresh and record.fresh
        return walk

    def _range(self, record: Page, after: Place | None) -> Iterator[str]:
        """The ids known to belong on a page of a list by id."""
        behind = None if after is None else after[1]
        last = None if record.last else record.items[-1].id
        return self._state.lists.ids(record.collection).page(behind, last, record.sort == "-id")

    def _in_order(self, record: Page, last: Place | None) -> tuple[bool, Place | None]:
        """Whether all items follow on one another, and the place of the last one."""
        items = record.items
        if record.sort == "id" and items:
            ids = [shown.id for shown in items]
            if all(map(lt, ids, ids[1:])) and (last is None or last < (ids[0], ids[0])):
                return True, (ids[-1], ids[-1])
        descending = record.sort.startswith("-")
        ordered = True
        for shown in record.items:
            if shown.key is None and record.sort not in BY_ID:
                continue
            place: Place = (shown.id if shown.key is None else shown.key, shown.id)
            if last is not None and not (place < last if descending else last < place):
                ordered = False
                expected = f"{'descending' if descending else 'ascending'} by {record.sort.removeprefix('-')}"
                found = "it twice" if place == last else f"it behind {last[1]} at {last[0]!r}"
                self._state.tally.report(
                    OUT_OF_ORDER, record, shown.id, shown.incarnation, shown.version, expected, found
                )
            last = place
        return ordered, last

    def _doubles(self, record: Page, walk: dict[str, tuple[Incarnation, int]]) -> None:
        """Add a page's items to its walk. Where the order isn't checked, an unchanged item is met once only."""
        for shown in record.items:
            what = (shown.incarnation, shown.version)
            if shown.key is None and walk.get(shown.id) == what:
                self._state.tally.report(OUT_OF_ORDER, record, shown.id, *what, "every item once", "it twice")
            walk[shown.id] = what

    def forget(self, session: str) -> None:
        self._walks.pop(session, None)

    def _incomplete(
        self, record: Page, bound_ns: int, fresh: bool, session: SessionState, lacks: list[str], began_ns: int
    ) -> None:
        wrong = 0
        for key in lacks:
            wrong += not self._right(record, bound_ns, fresh, session, key, began_ns)
            if wrong == _MISSING_MAX:
                return

    def _right(self, record: Page, bound_ns: int, fresh: bool, session: SessionState, key: str, began_ns: int) -> bool:
        """Whether this item may be lacking: not if it was there throughout."""
        state = self._state
        item = state.items[key]
        if item.last is not None and item.last.dead_by < began_ns - bound_ns:
            state.lists.ids(record.collection).discard(key)
            return True
        for kind, one, version in self._expected(bound_ns, fresh, session, item, began_ns):
            if record.collection not in one.lists or item.may_have_left(one, record.collection, record.completed_ns):
                continue
            if record.sort not in BY_ID and (one.since_ns >= began_ns - bound_ns or item.unknown):
                continue
            if not state.absent(kind, record, item, one, bound_ns == 0, version):
                return False
        return True

    def _expected(
        self, bound_ns: int, fresh: bool, session: SessionState, item: ItemState, began_ns: int
    ) -> Iterator[tuple[Kind, IncarnationState, int]]:
        """The incarnations that the item must have shown, and why."""
        own, seen = session.own.before(item, began_ns), session.seen.before(item, began_ns)
        if fresh and own is not None and own.version != DELETED:
            yield OWN_WRITE, own.one, own.version
        if seen is not None and seen.version != DELETED:
            yield NON_MONOTONIC, seen.one, seen.version
        newest = item.newest(began_ns - bound_ns)
        if newest is not None:
            yield INCOMPLETE, newest, newest.established(began_ns - bound_ns)

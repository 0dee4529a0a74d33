"""Judges what single answers show: contents, own writes, the session's order, staleness."""

from __future__ import annotations

from ledger.sessions.anomalies import (
    NON_MONOTONIC,
    OWN_WRITE,
    RESURRECTED,
    STALE_READ,
    STALE_WITHIN_BOUND,
    Kind,
)
from ledger.sessions.deferred import NEVER, Deferred, Missed, Observation
from ledger.sessions.floors import Floor
from ledger.sessions.history import Digest, Incarnation, Page, Read
from ledger.sessions.state import SessionState, State
from ledger.sessions.superseded import UNSEEN
from ledger.sessions.versions import DELETED, IncarnationState, ItemState, surely_older


class Reads:
    def __init__(self, state: State) -> None:
        self._state = state
        self._tally = state.tally
        self._bound_max_ns = state.bound_max_ns
        self._sources, self._items, self._sessions = state.sources, state.items, state.sessions
        self.contents = 0
        """Compared with what an acknowledged write said, and equal."""

    def read(self, record: Read) -> None:
        """ValueError for a source without a bound."""
        try:
            source, item = self._sources[record.source], self._items[record.id]
            session = self._sessions[record.session]
        except KeyError:
            state = self._state
            source, item, session = state.source(record.source), state.item(record.id), state.session(record.session)
        source.reads += 1
        if record.incarnation is None:
            self._absent(record, source.bound_ns, session, item)
        else:
            self.present(record, source.bound_ns, session, item, record.incarnation, record.version, record.digest)

    def present(
        self, record: Read | Page, bound_ns: int, session: SessionState, item: ItemState,
        incarnation: Incarnation, version: int, digest: Digest | None,
    ) -> None:  # fmt: skip
        """An answer shows this version of an item. At most one of the rules of order is reported, the first that is
        broken of: own writes, the session's order, resurrection, staleness."""
        one = item.last
        if (
            one is not None
            and version == one.version
            and incarnation == one.incarnation
            and digest == one.digest is not None
            and one.since_ns < record.invoked_ns - self._bound_max_ns
            and one.plain
            and not record.fresh
        ):
            # Most answers show what everybody has long agreed on: right by all rules, and nothing to remember.
            self.contents += 1
            if one.seen < version:
                one.seen = version
            return
        if one is None or one.incarnation != incarnation:
            one = self._find(record, item, incarnation)
        known = one.digest if version == one.version else one.digest_of(version)
        if known is UNSEEN:
            self._unproven(record, bound_ns, item, one, version, digest)
        elif digest is not None and known is not None:
            if digest == known:
                self.contents += 1
            else:
                self._state.compare(record, item, one, version, known, digest)
        if version > one.seen:
            one.seen = version
        if one.deferred is not None:
            self._shown_again(record, bound_ns, one.deferred, version)
        invoked_ns = record.invoked_ns
        if record.fresh and not self._shows_own(record, session, item, one, version):
            return
        floor = session.seen.get(item)
        if floor is not None and (floor.one is not one or version < floor.version):
            before = session.seen.before(item, invoked_ns)
            if before is not None and not self._reaches(
                NON_MONOTONIC, record, item, one, version, before, bound_ns == 0
            ):
                return
        # The newest of all is right, unless it is gone.
        newest = version >= one.version and one is item.last and one.dead_by >= invoked_ns
        if not newest and not self._recent(record, bound_ns, item, one, version):
            return
        if floor is not None and (version <= floor.version if floor.one is one else surely_older(one, floor.one)):
            return
        # What every later answer has to show anyway need not be remembered.
        if version != one.version or one.since_ns >= invoked_ns - self._bound_max_ns or one is not item.last:
            session.seen.rise(item, one, version, record.completed_ns)
            self._state.sweep(session, record.completed_ns)

    def _find(self, record: Read | Page, item: ItemState, incarnation: Incarnation) -> IncarnationState:
        one = item.get(incarnation)
        one.show(item, record.completed_ns)
        if one.known_by == NEVER and item.last is not None:
            item.last.contest()
        return one

    def _unproven(
        self,
        record: Read | Page,
        bound_ns: int,
        item: ItemState,
        one: IncarnationState,
        version: int,
        digest: Digest | None,
    ) -> None:
        """No write of this version was acknowledged until now."""
        if version < one.first or (one.older is not None and version < one.older.lowest):
            return
        waiting = one.waiting()
        seen = waiting.pending.get(version)
        if seen is None:
            waiting.pending[version] = Observation(digest, record)
        elif seen.digest is None:
            seen.digest = digest
        elif digest is not None:
            self._state.compare(record, item, one, version, seen.digest, digest, acknowledged=False)
        if bound_ns:
            return
        open_item = item.is_open(self._state.complete)
        if one.known_by == NEVER and (open_item or item.explained(one.incarnation, 1, None, record.completed_ns)):
            self._succeed(record, item, one)
        if open_item or item.explained(one.incarnation, version, digest, record.completed_ns):
            one.settle(version, UNSEEN, record.completed_ns, self._state.keep_ns)
        elif version > waiting.strong_version:
            waiting.strong_version, waiting.strong_ns = version, record.completed_ns

    def _succeed(self, record: Read | Page, item: ItemState, one: IncarnationState) -> None:
        """A source without staleness shows an incarnation of a create of unknown outcome: those before it are gone."""
        for before in (*(item.before or ()), item.last):
            if before is None or before.known_by >= record.invoked_ns:
                continue
            if item.may_be_gone(before, record.completed_ns):
                before.end(record.completed_ns)
        item.establish(one, record.completed_ns)

    def _shown_again(self, record: Read | Page, bound_ns: int, waiting: Deferred, version: int) -> None:
        """Note what may decide what waits."""
        waiting.last_shown_ns = record.completed_ns
        began_ns = record.invoked_ns - bound_ns
        if waiting.missed is not None and version >= waiting.missed.version:
            waiting.missed = None
        if waiting.reappeared is None and any(
            absence.strong and absence.completed_ns < began_ns for absence in waiting.absences
        ):
            waiting.reappeared = record
        if version < waiting.strong_version and waiting.strong_ns < began_ns:
            seen = waiting.pending.get(waiting.strong_version)
            if seen is not None and seen.contradiction is None:
                seen.contradiction = record

    def _shows_own(
        self, record: Read | Page, session: SessionState, item: ItemState, one: IncarnationState, version: int
    ) -> bool:
        own = session.own.before(item, record.invoked_ns)
        if own is None:
            return True
        self._state.own_reads[record.region] += 1
        return self._reaches(
            OWN_WRITE, record, item, one, version, own, self._state.sources[record.source].bound_ns == 0
        )

    def _reaches(
        self, kind: Kind, record: Read | Page, item: ItemState, one: IncarnationState, version: int,
        floor: Floor, strong: bool,
    ) -> bool:  # fmt: skip
        """Whether an answer shows no less than its session must see."""
        before, least = floor.one, floor.version
        if before is one:
            if version >= least:
                return True
        elif not surely_older(one, before):
            return least == DELETED or self._state.absent(kind, record, item, before, strong, least)
        self._report(kind, record, item, one, version, f"at least {named(before, least)}", named(one, version))
        return False

    def _recent(self, record: Read | Page, bound_ns: int, item: ItemState, one: IncarnationState, version: int) -> bool:
        """Whether an answer is no older than its source's bound."""
        began_ns = record.invoked_ns - bound_ns
        if one.dead_by < began_ns:
            expected = f"gone since {(record.invoked_ns - one.dead_by) / 1e9:.3f} s"
            self._report(RESURRECTED, record, item, one, version, expected, named(one, version))
            return False
        least = one.established(began_ns) if version < one.version else 0
        if version < least:
            expected = f"at least {named(one, least)}, the bound is {bound_ns / 1e9:g} s"
            self._report(STALE_READ, record, item, one, version, expected, named(one, version))
            if not bound_ns:
                self._missed(record, one, least, version)
            return False
        newest = item.newest(began_ns)
        if newest is not None and newest is not one and not self._state.absent(
            STALE_READ, record, item, newest, not bound_ns, newest.established(began_ns)
        ):  # fmt: skip
            return False
        if bound_ns and (one.dead_by < record.invoked_ns or version < one.established(record.invoked_ns)):
            self._tally.legal[STALE_WITHIN_BOUND] += 1
        return True

    def _missed(self, record: Read | Page, one: IncarnationState, least: int, shown: int) -> None:
        waiting = one.waiting()
        missed = waiting.missed
        if missed is None:
            waiting.missed = Missed(least, shown, record)
        else:
            missed.version = max(missed.version, least)
            missed.shown = max(missed.shown, shown)
            missed.times += 1

    def _absent(self, record: Read, bound_ns: int, session: SessionState, item: ItemState) -> None:
        """An answer says that there is no such item."""
        state, invoked_ns, strong = self._state, record.invoked_ns, bound_ns == 0
        own = session.own.before(item, invoked_ns) if record.fresh else None
        if own is not None:
            state.own_reads[record.region] += 1
            if own.version != DELETED and not state.absent(OWN_WRITE, record, item, own.one, strong, own.version):
                return
        floor = session.seen.before(item, invoked_ns)
        gone: IncarnationState | None = None
        if floor is not None and floor.version != DELETED:
            if not state.absent(NON_MONOTONIC, record, item, floor.one, strong, floor.version):
                return
            gone = floor.one
        newest = item.newest(invoked_ns - bound_ns)
        if newest is not None:
            if not state.absent(STALE_READ, record, item, newest, strong, newest.established(invoked_ns - bound_ns)):
                return
            if strong:
                newest.end(record.completed_ns)
            if floor is None:
                gone = newest
        top = session.seen.get(item)
        if gone is not None and gone.dead_by >= invoked_ns - self._bound_max_ns and (top is None or top.one is gone):
            gone.contest()
            session.seen.rise(item, gone, DELETED, record.completed_ns)
            state.sweep(session, record.completed_ns)
        self._contradict(record, bound_ns, item)
        if bound_ns:
            newest = item.newest(invoked_ns)
            if newest is not None and not item.may_be_gone(newest, record.completed_ns):
                self._tally.legal[STALE_WITHIN_BOUND] += 1

    def _contradict(self, record: Read, bound_ns: int, item: ItemState) -> None:
        """The item is absent, though a create that is still under way was seen before."""
        for one in (item.others or {}).values():
            waiting = one.deferred
            if one.known_by == NEVER and waiting is not None and waiting.strong_ns < record.invoked_ns - bound_ns:
                seen = waiting.pending.get(waiting.strong_version)
                if seen is not None and seen.contradiction is None:
                    seen.contradiction = record

    def _report(
        self,
        kind: Kind,
        record: Read | Page,
        item: ItemState,
        one: IncarnationState,
        version: int,
        expected: str,
        found: str,
    ) -> None:
        self._tally.report(kind, record, item.key, one.incarnation, version, expected, found)


def named(one: IncarnationState, version: int) -> str:
    if version == DELETED:
        return f"the end of incarnation {one.incarnation}"
    return f"version {version} of incarnation {one.incarnation}"

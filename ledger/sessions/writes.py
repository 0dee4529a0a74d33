"""Judges what was acknowledged, and takes it as the measure of later answers."""

from __future__ import annotations

from collections import Counter

from ledger.sessions.anomalies import (
    GARBAGE_READ,
    LOST_UPDATE,
    REFUSED,
    REORDERED,
    RESURRECTED,
    STALE_READ,
    UNKNOWN,
    Kind,
)
from ledger.sessions.deferred import NEVER, Absence, Deferred, Observation
from ledger.sessions.history import Digest, Read, Write
from ledger.sessions.reads import named
from ledger.sessions.state import SessionState, State
from ledger.sessions.superseded import UNSEEN
from ledger.sessions.versions import DELETED, IncarnationState, ItemState, Moves


class Writes:
    def __init__(self, state: State) -> None:
        self._state = state
        self._tally = state.tally
        self.outcomes: Counter[str] = Counter()

    def write(self, record: Write) -> None:
        """ValueError for an acknowledged create or update without incarnation or version."""
        self.outcomes[record.outcome] += 1
        item = self._state.items.get(record.id) or self._state.item(record.id)
        if record.outcome == "ok":
            if record.kind == "delete":
                self._deleted(record, item)
            else:
                self._acknowledged(record, item)
        elif record.outcome == "unknown":
            self._unknown(record, item)
        else:
            self._failed(record, item)

    def _acknowledged(self, record: Write, item: ItemState) -> None:
        """A create or an update."""
        if record.incarnation is None or record.version is None:
            raise ValueError(f"expected an acknowledged {record.kind} of {record.id} with incarnation and version")
        state, version, digest = self._state, record.version, record.digest
        session = state.sessions.get(record.session) or state.session(record.session)
        one = item.last
        if (
            one is not None
            and version == one.version + 1
            and record.base == one.version
            and record.incarnation == one.incarnation
            and one.plain
        ):
            _note(record, one)  # Right by all rules: it follows on the newest, of which nobody has seen more.
        else:
            one = item.get(record.incarnation)
            digest = self._judge(record, session, item, one, version)
        one.settle(version, digest, record.completed_ns, state.keep_ns)
        before = session.own.get(item)
        if before is None or before.one is not one or version > before.version:
            session.own.rise(item, one, version, record.completed_ns)
            state.sweep(session, record.completed_ns)

    def _judge(
        self, record: Write, session: SessionState, item: ItemState, one: IncarnationState, version: int
    ) -> Digest | None:
        """The digest by which answers are to be compared."""
        digest = record.digest
        if one.digest_of(version) is not UNSEEN:
            self._lost(record, item, one, version, "no other write acknowledged with it", named(one, version))
            digest = None  # Either contents may be there now.
        else:
            self._follows(record, session, item, one, version)
        if record.kind == "create":
            self._created(record, item, one)
        else:
            one.show(item, record.completed_ns)
            _note(record, one)
            item.establish(one, record.completed_ns)
        if one.dead_by < record.invoked_ns:
            self._report(RESURRECTED, record, item, one, version, "gone before it was invoked", named(one, version))
        waiting = one.deferred
        if waiting is not None:
            self._explain(record, item, one, waiting, version)
        return digest

    def _follows(
        self, record: Write, session: SessionState, item: ItemState, one: IncarnationState, version: int
    ) -> None:
        """The version is the next one after its base, and newer than all that its client could know."""
        base = 0 if record.kind == "create" else record.base
        if base is not None and version > base + 1:
            one.waiting().skipped.append(record)
            return
        if base is not None and version <= base:
            self._lost(record, item, one, version, named(one, base + 1), named(one, version))
            return
        if one.deleted_base is not None and version > one.deleted_base:
            expected = f"no change after its delete on {named(one, one.deleted_base)}"
            self._lost(record, item, one, version, expected, named(one, version))
            return
        least = one.established(record.invoked_ns)
        seen = session.seen.before(item, record.invoked_ns)
        if seen is not None and seen.one is one and seen.version != DELETED:
            least = max(least, seen.version)
        if version <= least:
            kind: Kind = REORDERED if record.base is None else LOST_UPDATE
            self._report(kind, record, item, one, version, f"a version after {least}", named(one, version))

    def _created(self, record: Write, item: ItemState, one: IncarnationState) -> None:
        one.created = True
        one.born_after = record.invoked_ns
        one.lists = record.lists or ()
        self._state.lists.added(item, one.lists)
        item.tried_from = min(item.tried_from, record.invoked_ns)
        for before in (item.last, *reversed(item.before or ())):
            if before is None or before is one or before.known_by >= record.invoked_ns:
                continue
            if before.dead_by < record.invoked_ns:
                break
            self._state.absent(LOST_UPDATE, record, item, before, True, before.version)
            before.end(record.completed_ns)
        item.establish(one, record.completed_ns)

    def _explain(self, record: Write, item: ItemState, one: IncarnationState, waiting: Deferred, version: int) -> None:
        """What waited for this write."""
        seen = waiting.pending.pop(version, None)
        if seen is not None:
            self._was_seen(record, item, one, version, seen)
        if version == waiting.strong_version:
            waiting.strong_version, waiting.strong_ns = 0, NEVER
        self._state.explain(
            waiting,
            lambda absence: _moved(record, absence),
            lambda refused: (
                refused.base is not None and version > refused.base and refused.completed_ns >= record.invoked_ns
            ),
        )
        if waiting.idle():
            one.waited()

    def _was_seen(self, record: Write, item: ItemState, one: IncarnationState, version: int, seen: Observation) -> None:
        answer = seen.record
        early = record.invoked_ns > answer.completed_ns
        if record.digest is not None and seen.digest is not None:
            self._state.compare(answer, item, one, version, record.digest, seen.digest, early)
        if early and (record.digest is None or seen.digest in (None, record.digest)):
            expected = "nothing that is only written later"
            self._tally.report(GARBAGE_READ, answer, item.key, one.incarnation, version, expected, named(one, version))
        self.happened(item, one, version, seen)

    def happened(self, item: ItemState, one: IncarnationState, version: int, seen: Observation) -> None:
        """A version that was seen turns out to be real: what showed less afterwards was stale."""
        less = seen.contradiction
        if less is None:
            return
        if isinstance(less, Read) and less.incarnation is None:
            self._state.absent(STALE_READ, less, item, one, self._state.source(less.source).bound_ns == 0, version)
        else:
            expected = f"at least {named(one, version)}"
            self._tally.report(STALE_READ, less, item.key, one.incarnation, version, expected, "an older version")

    def _deleted(self, record: Write, item: ItemState) -> None:
        if item.present_by == NEVER:
            item.present_by = record.completed_ns
        if record.incarnation is None:
            # Whichever incarnation it deleted, those established before it was invoked are gone.
            one = item.newest(record.invoked_ns)
            item.swept_from = min(item.swept_from, record.invoked_ns)
            item.swept_by = record.completed_ns
            self._end(record, item, list(item.all()))
            for before in item.all():
                if before.known_by < record.invoked_ns:
                    before.end(record.completed_ns)
        else:
            one = item.get(record.incarnation)
            one.show(item, record.completed_ns)
            self._deleted_this(record, item, one)
            one.dead_from = min(one.dead_from, record.invoked_ns)
            self._end(record, item, [one])
            one.end(record.completed_ns)
        if one is not None:
            session = self._state.session(record.session)
            session.own.rise(item, one, DELETED, record.completed_ns)
            self._state.sweep(session, record.completed_ns)

    def _deleted_this(self, record: Write, item: ItemState, one: IncarnationState) -> None:
        if one.deleted_base is not None:
            self._lost(record, item, one, DELETED, "no other delete acknowledged", named(one, DELETED))
        elif record.base is not None and one.version > record.base:
            expected = f"{named(one, record.base)} not overwritten"
            self._lost(record, item, one, one.version, expected, named(one, one.version))
        one.deleted_base = DELETED if record.base is None else record.base

    def _unknown(self, record: Write, item: ItemState) -> None:
        self._tally.legal[UNKNOWN] += 1
        if record.kind == "delete":
            if record.incarnation is None:
                item.wild_ns = min(item.wild_ns, record.invoked_ns)
                self._end(record, item, list(item.all()))
            else:
                one = item.get(record.incarnation)
                one.dead_from = min(one.dead_from, record.invoked_ns)
                self._end(record, item, [one])
            return
        item.note(record)
        concerned = list(item.all())
        if record.kind == "create":
            item.tried_from = min(item.tried_from, record.invoked_ns)
        elif record.incarnation is None:
            _note(record, item)
        else:
            one = item.get(record.incarnation)
            _note(record, one)
            concerned = [one]
        for one in concerned:
            waiting = one.deferred
            if waiting is not None:
                self._may_have_happened(record, item, one, waiting)

    def _may_have_happened(self, record: Write, item: ItemState, one: IncarnationState, waiting: Deferred) -> None:
        """What was seen of a write of unknown outcome has happened: from now on it is the measure."""
        if (
            one.known_by == NEVER
            and waiting.strong_ns != NEVER
            and item.explained(one.incarnation, 1, None, waiting.strong_ns)
        ):
            item.establish(one, record.completed_ns)
        seen = waiting.pending.get(waiting.strong_version)
        if seen is not None and item.explained(
            one.incarnation, waiting.strong_version, seen.digest, seen.record.completed_ns
        ):
            one.settle(waiting.strong_version, UNSEEN, record.completed_ns, self._state.keep_ns)
            self.happened(item, one, waiting.strong_version, seen)
            seen.contradiction = None
            waiting.strong_version = 0
        if record.kind == "update":
            self._state.explain(
                waiting,
                lambda absence: _moved(record, absence),
                lambda refused: record.base in (None, refused.base) and refused.completed_ns >= record.invoked_ns,
            )

    def _end(self, record: Write, item: ItemState, concerned: list[IncarnationState]) -> None:
        """A delete, or what may have been one, explains answers without these incarnations."""
        for one in concerned:
            waiting = one.deferred
            if waiting is None:
                continue
            explained = self._state.explain(
                waiting,
                lambda absence: absence.completed_ns >= record.invoked_ns,
                lambda refused: refused.completed_ns >= record.invoked_ns,
            )
            gone_by = min((absence.completed_ns for absence in explained if absence.strong), default=NEVER)
            if gone_by != NEVER:
                one.end(gone_by)
            again = waiting.reappeared
            if again is not None and gone_by < again.invoked_ns:
                found = f"incarnation {one.incarnation}"
                self._tally.report(
                    RESURRECTED, again, item.key, one.incarnation, None, "gone, as another answer had shown", found
                )
            waiting.reappeared = None

    def _failed(self, record: Write, item: ItemState) -> None:
        if record.kind != "delete":
            item.note(record)
        if not record.conflict:
            return
        self._tally.legal[REFUSED] += 1
        if record.incarnation is None or record.base is None:
            return
        one = item.find(record.incarnation)
        if (
            one is not None
            and one.version <= record.base
            and not item.may_be_gone(one, record.completed_ns)
            and not item.explained(one.incarnation, record.base + 1, None, record.completed_ns)
        ):
            self._state.refuse(record, one)

    def _lost(
        self, record: Write, item: ItemState, one: IncarnationState, version: int, expected: str, found: str
    ) -> None:
        self._report(LOST_UPDATE, record, item, one, version, expected, found)

    def _report(
        self, kind: Kind, record: Write, item: ItemState, one: IncarnationState, version: int, expected: str, found: str
    ) -> None:
        self._tally.report(kind, record, item.key, one.incarnation, version, expected, found)


def _moved(record: Write, absence: Absence) -> bool:
    """Whether a write explains that a page lacks an item: by it the item left the list, or changed its place."""
    if absence.completed_ns < record.invoked_ns:
        return False
    return absence.movable or (record.lists is not None and absence.collection not in (None, *record.lists))


def _note(record: Write, what: IncarnationState | ItemState) -> None:
    """By this update the item may leave lists."""
    if record.lists is not None:
        what.moves = what.moves or Moves()
        what.moves.note(record)

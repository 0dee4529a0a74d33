"""What can only be said at the end of a history, when no write is under way any more."""

from __future__ import annotations

from ledger.sessions.anomalies import (
    DIRTY_READ,
    DOUBLED,
    GARBAGE_READ,
    LOST_UPDATE,
    UNKNOWN_HAPPENED,
    WRONG_CONTENTS,
    Kind,
)
from ledger.sessions.deferred import NEVER, Deferred, Observation
from ledger.sessions.history import Read
from ledger.sessions.reads import named
from ledger.sessions.state import State
from ledger.sessions.superseded import UNSEEN
from ledger.sessions.versions import IncarnationState, ItemState
from ledger.sessions.writes import Writes


class Verdict:
    def __init__(self, state: State, writes: Writes) -> None:
        self._state = state
        self._tally = state.tally
        self._writes = writes

    def conclude(self) -> None:
        for mismatch in self._state.mismatches:
            item, one, version = mismatch.item, mismatch.incarnation, mismatch.version
            by_ns = mismatch.record.completed_ns
            kind: Kind = WRONG_CONTENTS
            never_was = item.tried_with if mismatch.acknowledged else item.failed_with
            if never_was(one.incarnation, version, mismatch.found, by_ns):
                kind = DIRTY_READ
            elif mismatch.early:
                kind = GARBAGE_READ
            self._tally.report(
                kind, mismatch.record, item.key, one.incarnation, version,
                f"digest {mismatch.expected}", f"digest {mismatch.found}",
            )  # fmt: skip
        for item in self._state.items.values():
            closed = not item.is_open(self._state.complete)
            for one in item.all():
                waiting = one.deferred
                if waiting is not None:
                    self._pending(item, one, waiting, closed)
                    if closed:
                        self._absences(item, one, waiting)
                        self._refused(item, one, waiting)
                    self._skipped(item, one, waiting)
                    self._missed(item, one, waiting)
                if closed:
                    self._gaps(item, one)

    def _pending(self, item: ItemState, one: IncarnationState, waiting: Deferred, closed: bool) -> None:
        """Versions that were seen and that no write acknowledged."""
        for version, seen in waiting.pending.items():
            by_ns = seen.record.completed_ns
            explained = item.explained(one.incarnation, version, seen.digest, by_ns)
            if explained:
                self._tally.legal[UNKNOWN_HAPPENED] += 1
            if explained or not closed:
                self._writes.happened(item, one, version, seen)
                continue
            self._unwritten(item, one, version, seen)

    def _unwritten(self, item: ItemState, one: IncarnationState, version: int, seen: Observation) -> None:
        digest, by_ns = seen.digest, seen.record.completed_ns
        kind: Kind
        if digest is not None and item.failed_with(one.incarnation, version, digest, by_ns):
            kind, expected = DIRTY_READ, "nothing of a write that failed"
        elif version < one.version if digest is None else digest in map(one.digest_of, (version - 1, version + 1)):
            kind, expected = DOUBLED, "one version by one acknowledged change"
        else:
            kind, expected = GARBAGE_READ, "something that was written"
        found = named(one, version) if digest is None else f"{named(one, version)}, digest {digest}"
        self._tally.report(kind, seen.record, item.key, one.incarnation, version, expected, found)

    def _absences(self, item: ItemState, one: IncarnationState, waiting: Deferred) -> None:
        """Answers without an incarnation that nobody deleted."""
        for absence in waiting.absences:
            found = "no such item" if absence.collection is None else f"a page of {absence.collection} without it"
            self._tally.report(
                absence.kind, absence.record, item.key, one.incarnation, absence.version,
                f"at least {named(one, absence.version)}", found,
            )  # fmt: skip
        missed = [
            absence for absence in waiting.absences
            if absence.strong and absence.completed_ns > waiting.last_shown_ns
            and isinstance(absence.record, Read) and absence.record.incarnation is None
        ]  # fmt: skip
        if missed and one.created and (len(missed) > 1 or not one.seen):
            found = f"nothing, in {len(missed)} answers until the end"
            self._tally.report(
                LOST_UPDATE, missed[0].record, item.key, one.incarnation, one.version, named(one, one.version), found
            )

    def _missed(self, item: ItemState, one: IncarnationState, waiting: Deferred) -> None:
        """An acknowledged version that was not shown any more, until the end."""
        missed = waiting.missed
        if missed is None or item.may_be_gone(one, NEVER - 1):
            return
        gone = [version for version in one.acknowledged() if missed.shown < version <= missed.version]
        if gone and (missed.times > 1 or one.seen < gone[-1]):
            found = f"at most {named(one, missed.shown)}, in {missed.times} answers until the end"
            self._tally.report(
                LOST_UPDATE, missed.record, item.key, one.incarnation, gone[-1], named(one, gone[-1]), found
            )

    def _refused(self, item: ItemState, one: IncarnationState, waiting: Deferred) -> None:
        """Conflicts on an acknowledged version that nobody changed."""
        for write in waiting.refused:
            if write.base is not None and one.digest_of(write.base) is not UNSEEN:
                expected = f"{named(one, write.base)}, which nobody changed"
                self._tally.report(
                    LOST_UPDATE, write, item.key, one.incarnation, write.base, expected, "a conflict: it isn't there"
                )

    def _skipped(self, item: ItemState, one: IncarnationState, waiting: Deferred) -> None:
        """Acknowledged writes whose version doesn't follow on the base of their condition."""
        for write in waiting.skipped:
            base, version = write.base or 0, write.version or 0
            other = one.digest_of(base + 1) is not UNSEEN or item.explained(
                one.incarnation, base + 1, None, write.completed_ns
            )
            self._tally.report(
                LOST_UPDATE if other else DOUBLED, write, item.key, one.incarnation, version,
                named(one, base + 1), named(one, version),
            )  # fmt: skip

    def _gaps(self, item: ItemState, one: IncarnationState) -> None:
        """Versions that were passed over, and that no write can have made."""
        waiting = one.deferred
        pending = {} if waiting is None else waiting.pending
        skipped = [] if waiting is None else waiting.skipped
        for first, last in one.all_gaps():
            if any((write.base or 0) < first and last < (write.version or 0) for write in skipped):
                continue
            by_ns = one.established_by(last + 1)
            if item.explained_by_any(one.incarnation, by_ns):
                self._tally.legal[UNKNOWN_HAPPENED] += 1
                continue
            for version in range(first, last + 1):
                if version in pending:
                    continue
                if not item.explained(one.incarnation, version, None, by_ns):
                    self._passed_over(item, one, version, by_ns)
                    break
                self._tally.legal[UNKNOWN_HAPPENED] += 1

    def _passed_over(self, item: ItemState, one: IncarnationState, version: int, at_ns: int) -> None:
        kind: Kind = DOUBLED if version > 1 else GARBAGE_READ
        expected = "a change for every version" if version > 1 else "an incarnation that somebody created"
        found = f"nobody's {named(one, version)}"
        self._tally.report_at(kind, "", at_ns, item.key, one.incarnation, version, expected, found)

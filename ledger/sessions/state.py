"""What the rules of reads, writes and pages share while a history goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ledger.sessions.anomalies import WRONG_CONTENTS, Kind, Tally
from ledger.sessions.deferred import NEVER, Absence, Deferred
from ledger.sessions.floors import Floors
from ledger.sessions.history import Digest, Initial, Page, Read, Write
from ledger.sessions.lists import Lists
from ledger.sessions.versions import IncarnationState, ItemState

WAITING_MAX = 100_000
"""So many absences and refusals wait to be explained at a time; what is more is counted as not judged."""
SWEEP_AT = 256
MISMATCHES_MAX = 10_000
"""So many wrong contents are held against all writes at the end; what is more is called wrong contents at once."""


class SessionState:
    """What one session has seen, and what it wrote and was acknowledged, by item.

    Only while it says more than the rule for all: what was established one bound ago every answer has to show.
    """

    __slots__ = ("own", "seen", "sweep_at")

    def __init__(self) -> None:
        self.seen = Floors()
        self.own = Floors()
        self.sweep_at = SWEEP_AT

    def sweep(self, horizon_ns: int) -> None:
        """Forget what was established before the horizon."""
        self.seen.sweep(horizon_ns)
        self.own.sweep(horizon_ns)
        self.sweep_at = max(SWEEP_AT, 2 * (len(self.seen) + len(self.own)))


class Source:
    """Who answers: by how much it may be stale, and how many reads it answered."""

    __slots__ = ("bound_ns", "reads")

    def __init__(self, bound_ns: int) -> None:
        self.bound_ns = bound_ns
        self.reads = 0


class Mismatch(NamedTuple):
    """Contents other than those that the version's acknowledged write says."""

    record: Read | Page
    item: ItemState
    incarnation: IncarnationState
    version: int
    expected: Digest
    found: Digest
    early: bool
    """It was seen before the acknowledged write was invoked."""
    acknowledged: bool
    """What is expected is what an acknowledged write says, not only what another answer showed."""


class State:
    def __init__(
        self, sources: Mapping[str, int], initial: Iterable[Initial], complete: bool, keep_ns: int, tally: Tally
    ) -> None:
        self.sources = {name: Source(bound_ns) for name, bound_ns in sources.items()}
        self.bound_max_ns = max(sources.values(), default=0)
        self.complete = complete
        self.keep_ns = keep_ns
        self.tally = tally
        self.items: dict[str, ItemState] = {}
        self.lists = Lists(self.items)
        self.sessions: dict[str, SessionState] = {}
        self.mismatches: list[Mismatch] = []
        self.contents = 0
        self.waiting = 0
        self.unjudged = 0
        self.own_reads: Counter[str] = Counter()
        for one in initial:
            self._add_initial(one)

    def _add_initial(self, initial: Initial) -> None:
        item = self.item(initial.id)
        if initial.incarnation is None:
            item.existed = "unknown"
            return
        item.existed = "known"
        one = item.get(initial.incarnation)
        one.created, one.first, one.lists, one.born_by = True, initial.version, initial.lists, -1
        item.establish(one, initial.since_ns)
        one.settle(initial.version, initial.digest, initial.since_ns, self.keep_ns)

    def item(self, key: str) -> ItemState:
        found = self.items.get(key)
        if found is None:
            found = self.items[key] = ItemState(key)
        return found

    def session(self, name: str) -> SessionState:
        found = self.sessions.get(name)
        if found is None:
            found = self.sessions[name] = SessionState()
        return found

    def sweep(self, session: SessionState, now_ns: int) -> None:
        if len(session.seen) + len(session.own) > session.sweep_at:
            session.sweep(now_ns - self.bound_max_ns - self.keep_ns)

    def source(self, name: str) -> Source:
        """ValueError for a source that has no bound."""
        try:
            return self.sources[name]
        except KeyError:
            raise ValueError(f"expected a source of {', '.join(self.sources)}, found {name!r}") from None

    def compare(
        self, record: Read | Page, item: ItemState, one: IncarnationState, version: int, expected: Digest,
        found: Digest, early: bool = False, acknowledged: bool = True,
    ) -> None:  # fmt: skip
        """Contents were seen of which an acknowledged write says, or another answer showed, what they are."""
        self.contents += 1
        if found == expected:
            return
        if len(self.mismatches) < MISMATCHES_MAX:
            self.mismatches.append(Mismatch(record, item, one, version, expected, found, early, acknowledged))
        else:
            self.tally.report(
                WRONG_CONTENTS, record, item.key, one.incarnation, version, f"digest {expected}", f"digest {found}"
            )

    def absent(
        self,
        kind: Kind,
        record: Read | Page | Write,
        item: ItemState,
        one: IncarnationState,
        strong: bool,
        version: int,
    ) -> bool:
        """An answer shows that this incarnation, established before, is not there. True if a delete explains it;
        otherwise the answer waits for one that is still under way."""
        if item.may_be_gone(one, record.completed_ns):
            return True
        if item.existed == "unknown" or (one.known_by != NEVER and item.is_open(self.complete)):
            return True  # Others may have deleted it.
        if self._may_wait():
            one.waiting().absences.append(Absence(kind, record, strong, version))
        return False

    def refuse(self, write: Write, one: IncarnationState) -> None:
        """A conflict that nothing known explains waits, too."""
        if self._may_wait():
            one.waiting().refused.append(write)

    def _may_wait(self) -> bool:
        if self.waiting >= WAITING_MAX:
            self.unjudged += 1
            return False
        self.waiting += 1
        return True

    def explain(
        self, waiting: Deferred, absences: Callable[[Absence], bool] | None, refused: Callable[[Write], bool] | None
    ) -> list[Absence]:
        """Drop what is explained; the absences that were."""
        dropped: list[Absence] = []
        if absences is not None and waiting.absences:
            dropped = [one for one in waiting.absences if absences(one)]
            waiting.absences = [one for one in waiting.absences if not absences(one)]
        before = len(waiting.refused)
        if refused is not None and before:
            waiting.refused = [one for one in waiting.refused if not refused(one)]
        self.waiting -= len(dropped) + before - len(waiting.refused)
        return dropped

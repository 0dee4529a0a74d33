"""What cannot be judged before a write that is still under way has ended: it waits, by incarnation."""

from __future__ import annotations

from ledger.sessions.anomalies import Kind
from ledger.sessions.history import BY_ID, Digest, Page, Read, Write

NEVER = 2**63 - 1


class Absence:
    """An answer without an incarnation that was established: right only if a write that ended it had been invoked."""

    __slots__ = ("collection", "completed_ns", "kind", "movable", "record", "strong", "version")

    def __init__(self, kind: Kind, record: Read | Page | Write, strong: bool, version: int) -> None:
        self.kind = kind
        self.record = record
        self.completed_ns = record.completed_ns
        self.strong = strong and not isinstance(record, Page)
        """A source without staleness says that there is no such item, not only that a list doesn't show it."""
        self.version = version
        self.collection = record.collection if isinstance(record, Page) else None
        self.movable = isinstance(record, Page) and record.sort not in BY_ID


class Observation:
    """A version that was seen before any write of it was acknowledged."""

    __slots__ = ("contradiction", "digest", "record")

    def __init__(self, digest: Digest | None, record: Read | Page) -> None:
        self.digest = digest
        self.record = record
        self.contradiction: Read | Page | None = None
        """A later answer that shows less, wrong if this version turns out to be real."""


class Missed:
    """A version that a source without staleness does not show any more."""

    __slots__ = ("record", "shown", "times", "version")

    def __init__(self, version: int, shown: int, record: Read | Page) -> None:
        self.version = version
        self.shown = shown
        """The greatest that it shows instead."""
        self.record = record
        self.times = 1


class Deferred:
    """What of an incarnation waits for a write to end, or for the end of the history. Few incarnations have any."""

    __slots__ = (
        "absences", "gaps", "last_shown_ns", "missed", "pending", "reappeared", "refused", "skipped",
        "strong_ns", "strong_version",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pending: dict[int, Observation] = {}
        """By version."""
        self.strong_version = 0
        """The greatest of `pending` that a source without staleness showed, and when it had."""
        self.strong_ns = NEVER
        self.absences: list[Absence] = []
        self.reappeared: Read | Page | None = None
        """The first answer that shows the incarnation again after it was absent from a source without staleness."""
        self.last_shown_ns = -1
        self.missed: Missed | None = None
        self.refused: list[Write] = []
        """Conflicts that nothing known explains."""
        self.skipped: list[Write] = []
        """Acknowledged versions that do not follow on the base of their condition."""
        self.gaps: list[tuple[int, int]] = []
        """(first, last) of versions that were passed over without an acknowledged write."""

    def idle(self) -> bool:
        return not (self.pending or self.absences or self.refused or self.skipped or self.gaps) and (
            self.missed is None and self.reappeared is None
        )

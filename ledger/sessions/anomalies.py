"""What is found in a history, in the words of Adya, Terry and Jepsen."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

import msgspec

from ledger.sessions.history import Incarnation, Page, Read, Write

Kind = Literal[
    "lost update", "dirty read", "garbage read", "stale read", "non-monotonic read", "own write not seen",
    "write reordered", "write resurrected", "wrong contents", "doubled write",
    "page out of order", "page incomplete", "walk without end",
]  # fmt: skip

LOST_UPDATE: Final = "lost update"
"""An acknowledged write was overwritten unseen (P4: two acknowledged writes on one base), or is gone until the end, as
Jepsen's reports use the word."""
DIRTY_READ: Final = "dirty read"
"""Contents of a write that failed, or that was seen and then never happened (Adya's aborted read, G1a)."""
GARBAGE_READ: Final = "garbage read"
"""What nobody ever wrote, or saw before it was written."""
STALE_READ: Final = "stale read"
"""Older than what was established one staleness bound before the read was invoked."""
NON_MONOTONIC: Final = "non-monotonic read"
"""Older than what the session had seen before (Terry's monotonic reads)."""
OWN_WRITE: Final = "own write not seen"
"""A read that had to show the session's own acknowledged writes doesn't (Terry's read your writes)."""
REORDERED: Final = "write reordered"
"""A write was acknowledged with a version before one that was established when it was invoked, or that its session had
read (Terry's monotonic writes, writes follow reads)."""
RESURRECTED: Final = "write resurrected"
"""An incarnation shows again, or takes writes, after it was gone for certain."""
WRONG_CONTENTS: Final = "wrong contents"
"""The right version with other contents, or one version with two contents."""
DOUBLED: Final = "doubled write"
"""One acknowledged change moved the version by more than one."""
OUT_OF_ORDER: Final = "page out of order"
"""Items not strictly ascending by the list's sort; an item twice is one of these."""
INCOMPLETE: Final = "page incomplete"
"""An item that belongs in the page's range, and existed throughout, isn't there."""
ENDLESS: Final = "walk without end"
"""A page without items that names a next one."""

STALE_WITHIN_BOUND: Final = "stale read within the bound"
UNKNOWN: Final = "unknown outcome"
UNKNOWN_HAPPENED: Final = "unknown outcome, took effect"
REFUSED: Final = "conflict refused"
"""Not anomalies: what a failover and concurrent clients may show."""


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One violation: which item, who saw it in which answer, and what was expected instead."""

    kind: Kind
    id: str
    incarnation: Incarnation | None
    version: int | None
    session: str
    """Empty if no single operation shows it."""
    at_ns: int
    """When the operation that shows it completed."""
    expected: str
    found: str
    source: str | None = None
    region: str | None = None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The judgement of a history, and how much was looked at."""

    anomalies: list[Anomaly]
    """By instant; of each kind at most as many as were asked for."""
    totals: dict[str, int]
    """How many of each kind; kinds that were not found are absent."""
    legal: dict[str, int]
    """What is no violation, but worth a count: stale reads within the bound, unknown outcomes, refused conflicts."""
    writes: dict[str, int]
    """By outcome."""
    reads: dict[str, int]
    """Reads of single items by source; each was held against what its session had seen and what was established."""
    contents: int
    """Items in reads and pages of which the contents were compared with what was written."""
    own_reads: dict[str, int]
    """By region: answers that had to show a write of their session's own, and were held against it."""
    pages: int
    walks: int
    """Walks that came to their last page."""
    shown: int
    """Items on pages."""
    items: int
    sessions: int
    unjudged: int
    """Answers that lack an item, and conflicts, that were too many at a time: where there are any, so are anomalies."""

    @property
    def sound(self) -> bool:
        return not self.totals


class Tally:
    """Collects anomalies: counts all, keeps `examples` of each kind."""

    def __init__(self, examples: int) -> None:
        self.totals: Counter[str] = Counter()
        self.legal: Counter[str] = Counter()
        self._examples = examples
        self._anomalies: list[Anomaly] = []

    def report(
        self, kind: Kind, record: Read | Page | Write, key: str,
        incarnation: Incarnation | None, version: int | None, expected: str, found: str,
    ) -> None:  # fmt: skip
        """An operation shows it."""
        source, region = (None, None) if isinstance(record, Write) else (record.source, record.region)
        self.report_at(
            kind, record.session, record.completed_ns, key, incarnation, version, expected, found, source, region
        )

    def report_at(
        self, kind: Kind, session: str, at_ns: int, key: str, incarnation: Incarnation | None, version: int | None,
        expected: str, found: str, source: str | None = None, region: str | None = None,
    ) -> None:  # fmt: skip
        self.totals[kind] += 1
        if self.totals[kind] > self._examples:
            return
        anomaly = Anomaly(
            kind=kind, id=key, incarnation=incarnation, version=version, session=session, at_ns=at_ns,
            expected=expected, found=found, source=source, region=region,
        )  # fmt: skip
        self._anomalies.append(anomaly)

    @property
    def anomalies(self) -> list[Anomaly]:
        return sorted(self._anomalies, key=lambda anomaly: anomaly.at_ns)

"""One pass over a history, in the order in which its operations completed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ledger.sessions.anomalies import Findings, Tally
from ledger.sessions.history import Initial, Page, Read, Record, Write
from ledger.sessions.pages import Pages
from ledger.sessions.reads import Reads
from ledger.sessions.state import State
from ledger.sessions.verdict import Verdict
from ledger.sessions.writes import Writes

KEEP_NS = 60_000_000_000
EXAMPLES = 20


class SessionChecker:
    """Takes a history record by record and says at its end what was wrong.

    `sources` has the staleness bound of each source in ns: an answer shows at least what was established that long
    before it was invoked. Zero means none at all, as of a primary: what such a source shows is established itself.
    `initial` are the items that were there before; with `complete` they are all of them, and what is neither among them
    nor created here is garbage. Without it, an item is only closed to others if it was created before it was seen.

    Time is linear in the number of records and items on pages (a bisection among an item's kept versions where an
    answer is old). Memory, in CPython 3.11: about 0.5 KiB an incarnation; 150 bytes and its digest a version that was
    superseded within `keep_ns`; 200 bytes for each item that a session wrote within `keep_ns` and the greatest bound,
    or read within that bound of its last change; 300 bytes a write that wasn't acknowledged. What is older is
    forgotten: an operation that took longer than `keep_ns` may go unjudged, it is never misjudged; and a session that
    goes back to what is stale for everybody is reported as a stale read.
    """

    def __init__(
        self, sources: Mapping[str, int], initial: Iterable[Initial] = (), *,
        complete: bool = True, keep_ns: int = KEEP_NS, examples: int = EXAMPLES,
    ) -> None:  # fmt: skip
        self._tally = Tally(examples)
        self._state = State(sources, initial, complete, keep_ns, self._tally)
        self._reads = Reads(self._state)
        self._writes = Writes(self._state)
        self._pages = Pages(self._state, self._reads)
        self._judges: dict[type[Record], Callable[[Any], None]] = {
            Read: self._reads.read, Write: self._writes.write, Page: self._pages.page,
        }  # fmt: skip
        self._now_ns = -1

    def add(self, record: Record) -> None:
        """ValueError for a record that completed before the one before it or before it was invoked, for a source
        without a bound, and for an acknowledged create or update without incarnation or version."""
        completed_ns = record.completed_ns
        if completed_ns < self._now_ns or completed_ns < record.invoked_ns:
            raise ValueError(
                f"expected records in the order of their completion, each after its invocation; found one of session"
                f" {record.session} from {record.invoked_ns} to {completed_ns}, after {self._now_ns}"
            )
        self._now_ns = completed_ns
        self._judges[type(record)](record)

    def forget(self, session: str) -> None:
        """The session has ended: what it saw and wrote needs to be remembered no longer."""
        self._state.sessions.pop(session, None)
        self._pages.forget(session)

    def finish(self) -> Findings:
        """The judgement; nothing can be added afterwards."""
        Verdict(self._state, self._writes).conclude()
        state, pages = self._state, self._pages
        return Findings(
            anomalies=self._tally.anomalies, totals=dict(self._tally.totals), legal=dict(self._tally.legal),
            writes=dict(self._writes.outcomes), reads={name: source.reads for name, source in state.sources.items()},
            contents=state.contents + self._reads.contents, own_reads=dict(state.own_reads),
            pages=pages.pages, walks=pages.ended, shown=pages.shown, items=len(state.items),
            sessions=len(state.sessions), unjudged=state.unjudged,
        )  # fmt: skip


@contextmanager
def collector_off() -> Iterator[None]:
    """What is kept of a history has no cycles; to look for some among millions of objects takes a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check(
    history: Iterable[Record], sources: Mapping[str, int], initial: Iterable[Initial] = (), *,
    complete: bool = True, keep_ns: int = KEEP_NS, examples: int = EXAMPLES,
) -> Findings:  # fmt: skip
    """Judge a whole history, sorted by completion. ValueError as SessionChecker.add."""
    checker = SessionChecker(sources, initial, complete=complete, keep_ns=keep_ns, examples=examples)
    with collector_off():
        for record in history:
            checker.add(record)
        return checker.finish()

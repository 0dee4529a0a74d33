"""Where writes vanished or doubled: the writes that clients had acknowledged, against what is found at every hop.

Pure arithmetic over the ledger and the hops of one client. Named writes are compared by id, numbered writes as ranges,
so that millions of numbers cost no more than their few thousand ranges. A write is lost if it was acknowledged and is
not there; doubled if it is there more than once; unexpected if it is there although it failed or was never recorded.
A write with an unknown outcome may be there or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from reports.evidence import Hop, Outcome, Span, Write
from reports.evidence.range_set import Range, RangeSet
from reports.findings.contents import Said, compare, said_of
from reports.model import HopResult, LedgerResult

PASSAGE = (
    "postgres", "outbox", "stream", "replica", "analytics", "audit-logger", "audit-log", "notifications",
    "notification", "cache-invalidator", "frontend-realtime", "feed", "mobile-sync",
)  # fmt: skip
"""The order in which a write passes the hops; others come last, by name."""
STORE = "postgres"
"""The hop whose losses count for the recovery point."""
_EXAMPLES = 5


class _Writes(msgspec.Struct):
    """One client's writes by outcome: `ids` id -> instant of its first line, `numbers` publisher -> its numbers."""

    ids: dict[Outcome, dict[str, int]]
    numbers: dict[Outcome, dict[int, RangeSet]]
    said: Said

    def count(self, outcome: Outcome) -> int:
        return len(self.ids[outcome]) + _count(self.numbers[outcome])


class _Found(msgspec.Struct):
    """The result of one hop, and the ids of all writes that are lost there."""

    result: HopResult
    lost_ids: list[str]


def _ids_by_outcome(writes: Iterable[Write]) -> dict[Outcome, dict[str, int]]:
    """Outcome -> id -> instant of its first line. A write's last outcome counts; without any it is unknown."""
    sent_ns: dict[str, int] = {}
    outcomes: dict[str, Outcome] = {}
    for write in writes:
        sent_ns.setdefault(write.id, write.at_ns)
        if write.outcome is not None:
            outcomes[write.id] = write.outcome
    by_outcome: dict[Outcome, dict[str, int]] = {"ok": {}, "fail": {}, "unknown": {}}
    for name, at_ns in sent_ns.items():
        by_outcome[outcomes.get(name, "unknown")][name] = at_ns
    return by_outcome


def _by_publisher(spans: Iterable[tuple[int, int, int]]) -> dict[int, RangeSet]:
    collected: defaultdict[int, list[Range]] = defaultdict(list)
    for publisher, first, last in spans:
        collected[publisher].append((first, last))
    return {publisher: RangeSet(numbers) for publisher, numbers in collected.items()}


def _numbers_by_outcome(spans: Sequence[Span]) -> dict[Outcome, dict[int, RangeSet]]:
    """Outcome -> publisher -> its numbers. If lines disagree, ok outranks fail (the number was stored), and fail
    outranks unknown. A number that was only about to be sent is unknown."""

    def of(*outcomes: Outcome | None) -> dict[int, RangeSet]:
        return _by_publisher((span.publisher, span.first, span.last) for span in spans if span.outcome in outcomes)

    acked = of("ok")
    failed = _minus(of("fail"), acked)
    unknown = _minus(_minus(of(None, "unknown"), acked), failed)
    return {"ok": acked, "fail": failed, "unknown": unknown}


def _minus(left: Mapping[int, RangeSet], right: Mapping[int, RangeSet]) -> dict[int, RangeSet]:
    return {publisher: numbers - right.get(publisher, RangeSet()) for publisher, numbers in left.items()}


def _count(numbers: Mapping[int, RangeSet]) -> int:
    return sum(own.count for own in numbers.values())


def _named(ids: Iterable[str], labels: Mapping[str, str]) -> list[str]:
    return [f"{name} ({labels[name]})" if name in labels else name for name in list(ids)[:_EXAMPLES]]


def _numbered(numbers: Mapping[int, RangeSet]) -> list[str]:
    spans = [(publisher, span) for publisher, own in sorted(numbers.items()) for span in own]
    return [
        f"publisher {publisher}: {first}" + (f" to {last}" if last > first else "")
        for publisher, (first, last) in spans[:_EXAMPLES]
    ]


def _compare(written: _Writes, hop: Hop) -> _Found:
    acked, unknown = written.count("ok"), written.count("unknown")
    if hop.problem is not None:
        result = HopResult(
            client=hop.client,
            hop=hop.hop,
            region=hop.region,
            effect=hop.effect,
            acked=acked,
            unknown=unknown,
            problem=hop.problem,
        )
        return _Found(result, [])
    there = {name for name, times in hop.found.items() if times > 0}
    lost = [name for name in written.ids["ok"] if name not in there]
    doubled = [name for name, times in hop.found.items() if times > 1]
    maybe = written.ids["unknown"]
    unexpected = [name for name in hop.found if name in there and name not in written.ids["ok"] and name not in maybe]

    spans, doubled_spans = _by_publisher(hop.spans), _by_publisher(hop.doubled_spans)
    lost_spans = _minus(written.numbers["ok"], spans)
    unexpected_spans = _minus(_minus(spans, written.numbers["ok"]), written.numbers["unknown"])
    unknown_missing = _count(_minus(written.numbers["unknown"], spans))
    lost_count = len(lost) + _count(lost_spans)
    contents = compare(written.said, hop)
    result = HopResult(
        client=hop.client,
        hop=hop.hop,
        region=hop.region,
        effect=hop.effect,
        acked=acked,
        unknown=unknown,
        found=acked - lost_count,
        lost=lost_count,
        duplicated=len(doubled) + _count(doubled_spans),
        unexpected=len(unexpected) + _count(unexpected_spans),
        unknown_found=sum(name in there for name in maybe) + _count(written.numbers["unknown"]) - unknown_missing,
        lost_examples=(_named(lost, hop.labels) + _numbered(lost_spans))[:_EXAMPLES],
        duplicated_examples=(_named(doubled, hop.labels) + _numbered(doubled_spans))[:_EXAMPLES],
        unexpected_examples=(_named(unexpected, hop.labels) + _numbered(unexpected_spans))[:_EXAMPLES],
    )
    if contents is not None:
        result = msgspec.structs.replace(
            result,
            compared=contents.compared,
            uncompared=contents.uncompared,
            wrong=contents.wrong,
            wrong_examples=contents.examples,
        )
    return _Found(result, lost)


def hop_name(hop: HopResult) -> str:
    """`analytics`, or with its region `replica.syd`."""
    return f"{hop.hop}.{hop.region}" if hop.region else hop.hop


def _passage(hop: Hop) -> tuple[int, str, str]:
    """Sorts hops by `PASSAGE`."""
    position = PASSAGE.index(hop.hop) if hop.hop in PASSAGE else len(PASSAGE)
    return (position, hop.hop, hop.region or "")


def _share_labels(hops: Sequence[Hop]) -> list[Hop]:
    """Every hop with the labels of all: the hop that lost a write has no label for it."""
    labels = {name: label for hop in hops for name, label in hop.labels.items()}
    return [msgspec.structs.replace(hop, labels=labels | hop.labels) for hop in hops]


def check(
    client: str,
    writes: Sequence[Write],
    spans: Sequence[Span],
    hops: Iterable[Hop],
    fault_ns: int | None = None,
) -> LedgerResult:
    """The ledger of `client` against its hops, in the order in which a write passes them; hops of other clients are
    ignored. A lost write's age is its age at `fault_ns`, None without that."""
    ids = _ids_by_outcome(writes)
    outcomes = {name: outcome for outcome, names in ids.items() for name in names}
    written = _Writes(ids, _numbers_by_outcome(spans), said_of(writes, outcomes))
    own = sorted((hop for hop in hops if hop.client == client), key=_passage)
    found = [_compare(written, hop) for hop in _share_labels(own)]
    stored = [entry.lost_ids for entry in found if entry.result.hop == STORE and entry.result.problem is None]
    ages_ns = [fault_ns - written.ids["ok"][name] for lost in stored for name in lost] if fault_ns is not None else []
    return LedgerResult(
        client=client,
        acked=written.count("ok"),
        failed=written.count("fail"),
        unknown=written.count("unknown"),
        hops=[entry.result for entry in found],
        first_lost=next((hop_name(entry.result) for entry in found if entry.result.lost), None),
        first_doubled=next((hop_name(entry.result) for entry in found if entry.result.duplicated), None),
        lost_seconds=max(0, max(ages_ns, default=0)) / 1e9 if stored and fault_ns is not None else None,
        lost_after_fault=sum(age < 0 for age in ages_ns),
        says=len(written.said.acked),
    )

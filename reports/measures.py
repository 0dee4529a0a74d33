"""What was measured for each row, from the findings: a value, its interval, its samples, and its parts.

A row is made of parts that stand or fall by themselves (a load, a repeat of an experiment, a ledger): a part may
lack evidence, may be not to be believed, or may have missed its gate, and the row is as bad as its worst part.
Nothing is judged here. A row without a function here is measured by nobody yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from reports.claims import RowClaim
from reports.evidence import Load, merge, percentile_ms
from reports.findings import Finding, Findings, Window, load_distrust
from reports.intervals import bound_without_a_miss, percentile_interval_ms, share_interval
from reports.ledger import STORE, hop_name
from reports.model import Bound, HopResult, LedgerResult


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a row's verdict rests on.

    `missed` says why the part misses its gate whatever its value; `certain` that a miss is proof even where the
    harness is not to be believed otherwise (a lost write); `timed` that a disturbed machine excuses a miss.
    """

    name: str = ""
    value: float | None
    samples: int = 0
    says: str = ""
    missing: str | None = None
    invalid: str | None = None
    missed: str | None = None
    certain: bool = False
    timed: bool = False
    window: Window | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A row's figures. `claim_value` is what the claim is judged on where that is not `value`."""

    value: float | None = None
    claim_value: float | None = None
    interval: tuple[float, float] | None = None
    samples: int = 0
    says: str = ""
    parts: list[Part]
    settings: list[str] = []
    """Durability and security of the loads, where they say other than the run."""
    evidence: list[str] = []


_EXAMPLES = 3

Measure = Callable[[Findings, RowClaim, Bound], Measurement]


def _nothing(why: str) -> Measurement:
    return Measurement(parts=[Part(value=None, missing=why)])


def _load_path(load: Load) -> str:
    return f"evidence/load/{load.scenario}.json"


def _latency(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    found = [
        (load, operation.latencies)
        for load in findings.evidence.loads
        for operation in load.operations
        if operation.name == claim.family and operation.region == claim.region
    ]
    if not found:
        return _nothing("no load measured it")
    latencies = merge(part for _, part in found)
    loads = [load for load, _ in found]
    total = latencies.samples + latencies.failed + latencies.unknown
    value = percentile_ms(latencies, 99)
    says = f"p99 of {total:,} operations"
    if latencies.failed or latencies.unknown:
        says += f", {latencies.failed:,} failed and {latencies.unknown:,} without an answer among the slowest"
    if latencies.negative:
        says += f", {latencies.negative:,} below zero (lowest {latencies.min_us / 1000:.3f} ms)"
    distrust = [reason for load in loads if (reason := load_distrust(load, [gate], findings.policy))]
    part = Part(
        value=value,
        samples=total,
        says=says,
        invalid="; ".join(distrust) or None,
        missed="more than 1% of all operations failed or never answered" if value == math.inf else None,
        timed=True,
        window=(min(load.begin_ns for load in loads), max(load.end_ns for load in loads)),
    )
    return Measurement(
        value=value,
        interval=percentile_interval_ms(latencies, 99),
        samples=total,
        says=says,
        parts=[part],
        settings=[load.settings[key] for load in loads for key in ("durability", "security") if key in load.settings],
        evidence=[_load_path(load) for load in loads],
    )


def _outside(load: Load, windows: list[Window]) -> tuple[int, int]:
    """(good, all) requests of a load outside fault windows: whole seconds that touch one are left out."""
    inside = [window for window in windows if window[0] <= load.end_ns and window[1] >= load.begin_ns]
    if not inside:
        return load.ok, load.ok + load.failed + load.unknown
    kept = [
        second
        for second in load.seconds
        if load.begin_ns <= second.at_ns < load.end_ns
        and not any(second.at_ns <= end and second.at_ns + 1_000_000_000 > begin for begin, end in inside)
    ]
    return sum(second.ok for second in kept), sum(second.ok + second.failed for second in kept)


def _availability(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    loads = [load for load in findings.evidence.loads if load.requests]
    if not loads:
        return _nothing("no load sent requests to the API")
    counts = [_outside(load, findings.fault_windows()) for load in loads]
    good, total = sum(pair[0] for pair in counts), sum(pair[1] for pair in counts)
    interval = share_interval(good, total)
    value = 100 * good / total if total else None
    says = f"{total - good:,} of {total:,} requests outside fault windows did not succeed"
    window = (min(load.begin_ns for load in loads), max(load.end_ns for load in loads))
    return Measurement(
        value=value,
        interval=None if interval is None else (100 * interval[0], 100 * interval[1]),
        samples=total,
        says=says,
        parts=[Part(value=value, samples=total, says=says, window=window)],
        evidence=[_load_path(load) for load in loads],
    )


def _chaos_path(finding: Finding, file: str) -> str:
    return f"evidence/chaos/{finding.name}/{file}"


def _absent(findings: Findings) -> list[Part]:
    return [Part(name=name, value=None, missing=f"{name}: {why}") for name, why in findings.without_result()]


def _recovery_part(finding: Finding) -> Part:
    record, worst = finding.trial.record, finding.worst
    known = {(result.region, result.operation): result for result in finding.recoveries}
    blind = sorted(
        f"{result.operation} from {result.region}" for result in known.values() if result.state == "no_evidence"
    )
    missing = missed = None
    if worst is None:
        missing = f"{finding.name}: no probes around the fault"
    elif blind:
        missing = f"{finding.name}: too few probes around the fault of {', '.join(blind)}"
    result = known[worst.region, worst.operation] if worst else None
    value = None
    if result is not None:
        value = result.observed_s if result.slo_stable is None else result.slo_stable
        if result.state == "censored":
            missed = (
                f"{result.operation} from {result.region} was not stable again when the probing ended,"
                f" {result.observed_s:.1f} s after the fault"
            )
        elif record.steady_after is False:
            missed = "the steady state did not hold after healing"
    says = f"{finding.name} {value:.2f} s" if value is not None else finding.name
    if worst is not None and value:
        says += f" ({worst.operation} from {worst.region})"
    return Part(
        name=finding.name,
        value=value,
        samples=0 if value is None else 1,
        says=says,
        missing=missing,
        invalid=f"{finding.name}: {finding.distrust}" if finding.distrust else None,
        missed=missed and f"{finding.name}: {missed}",
        timed=True,
        window=finding.window,
    )


def _rto(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    parts = [_recovery_part(finding) for finding in findings.experiments]
    values = [part.value for part in parts if part.value is not None]
    absent = _absent(findings)
    if not parts and not absent:
        return _nothing("no experiment was run")
    says = ", ".join(part.says for part in parts)
    if values:
        bound = bound_without_a_miss(len(values))
        says += (
            f"; range of {len(values)} recoveries: without a miss they bound the rate of slower ones only"
            f" below {bound:.0%} (95%; rule of three)"
        )
    return Measurement(
        value=max(values, default=None),
        claim_value=math.inf if any(part.missed for part in parts) else None,
        interval=(min(values), max(values)) if values else None,
        samples=len(values),
        says=says,
        parts=parts + absent,
        evidence=[_chaos_path(finding, "probes.jsonl") for finding in findings.experiments],
    )


def _told(lost: int, doubled: int, hops: list[HopResult], book: LedgerResult) -> str:
    """What vanished or doubled, the first hop where it did, and a few by name."""
    told: list[str] = []
    for count, word, first in ((lost, "lost", book.first_lost), (doubled, "doubled", book.first_doubled)):
        if count:
            names = {"lost": "lost_examples", "doubled": "duplicated_examples"}[word]
            examples = list(dict.fromkeys(name for hop in hops for name in getattr(hop, names)))[:_EXAMPLES]
            told.append(f"{count:,} {word}, first at {first}: {', '.join(examples)}")
    return "; ".join(told)


def _loss_part(finding: Finding) -> Part:
    """Acknowledged writes that are not in PostgreSQL: proof, however the experiment went otherwise."""
    book = finding.ledger
    stores = [hop for hop in book.hops if hop.hop == STORE] if book else []
    missing = None
    if book is None or book.acked == 0:
        missing = "no acknowledged write is in its ledger"
    elif not stores:
        missing = "its writes were not looked for in PostgreSQL"
    else:
        missing = next((f"PostgreSQL could not be read: {hop.problem}" for hop in stores if hop.problem), None)
    lost = max((hop.lost for hop in stores if hop.lost is not None), default=None)
    says = f"{finding.name} lost {lost or 0:,} of {book.acked if book else 0:,} acknowledged writes"
    if lost and book:
        says += f", the oldest {book.lost_seconds or 0:.3f} s before the fault"
        says += f", {book.lost_after_fault:,} after it" if book.lost_after_fault else ""
        says += "; " + _told(lost, 0, stores, book)
    return Part(
        name=finding.name,
        value=lost,
        samples=book.acked if book else 0,
        says=says,
        missing=missing and f"{finding.name}: {missing}",
        invalid=f"{finding.name}: {finding.distrust}" if finding.distrust else None,
        missed=says if lost else None,
        certain=True,
        window=finding.window,
    )


def _rpo(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    parts = [_loss_part(finding) for finding in findings.experiments]
    absent = _absent(findings)
    if not parts and not absent:
        return _nothing("no experiment was run")
    known = [part.value for part in parts if part.value is not None]
    books = [finding.ledger for finding in findings.experiments if finding.ledger]
    ages = [book.lost_seconds for book in books if book.lost_seconds is not None]
    after = any(book.lost_after_fault for book in books)
    return Measurement(
        value=sum(known) if known else None,
        # The claim allows for writes of the last moment before the fault, for none after it.
        claim_value=math.inf if after else max(ages, default=None),
        samples=sum(part.samples for part in parts),
        says="; ".join(part.says for part in parts if part.value is not None),
        parts=parts + absent,
        evidence=[
            path
            for finding in findings.experiments
            for path in (_chaos_path(finding, "experiment.json"), f"evidence/ledger/{finding.name}.jsonl")
        ],
    )


def _effect_part(client: str, book: LedgerResult | None, distrust: str | None, window: Window | None) -> Part:
    """Lost and doubled effects: consumers' where the client's writes have any, else what the stream delivered."""
    hops = [hop for hop in book.hops if hop.effect] or book.hops if book else []
    missing = None
    if book is None or book.acked == 0:
        missing = "no acknowledged write is in its ledger"
    elif not hops:
        missing = "its writes were looked for nowhere"
    else:
        problems = [f"{hop_name(hop)} could not be read: {hop.problem}" for hop in hops if hop.problem]
        missing = "; ".join(problems) or None
    read = [hop for hop in hops if hop.problem is None]
    lost, doubled = sum(hop.lost or 0 for hop in read), sum(hop.duplicated or 0 for hop in read)
    wrong = lost + doubled
    where = ", ".join(hop_name(hop) for hop in read)
    says = f"{client}: {book.acked if book else 0:,} writes, each once at {where}"
    if wrong and book:
        says = f"{client}: {_told(lost, doubled, read, book)}"
    return Part(
        name=client,
        value=wrong if read else None,
        samples=book.acked if book else 0,
        says=says,
        missing=missing and f"{client}: {missing}",
        invalid=f"{client}: {distrust}" if distrust else None,
        missed=says if wrong else None,
        certain=True,
        window=window,
    )


def _exactly_once(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    parts = [
        _effect_part(finding.name, finding.ledger, finding.distrust, finding.window) for finding in findings.experiments
    ]
    for load in findings.evidence.loads:
        publishes = any(operation.name == "bus.publish_p99" for operation in load.operations)
        if publishes or load.scenario in findings.ledgers:
            book = findings.ledgers.get(load.scenario)
            parts.append(_effect_part(load.scenario, book, None, (load.begin_ns, load.end_ns)))
    absent = _absent(findings)
    if not parts and not absent:
        return _nothing("nothing was written that could be looked for")
    known = [part for part in parts if part.value is not None]
    return Measurement(
        value=sum(part.value or 0 for part in known) if known else None,
        samples=sum(part.samples for part in parts),
        says="; ".join(part.says for part in known),
        parts=parts + absent,
        evidence=[path for path in findings.evidence.files if path.startswith(("evidence/hops/", "evidence/ledger/"))],
    )


def _count(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    counts = [count for count in findings.evidence.counts if count.row == claim.row]
    if not counts:
        return _nothing("nobody counted it")
    numbers = [count for count in counts if count.ok is None]
    broken = [count for count in counts if count.ok is False]
    worst = next((count for count in numbers if not gate.met_by(count.value)), numbers[0] if numbers else None)
    value = None if worst is None else worst.value
    says = "; ".join(
        f"{count.how}: {count.value:g} {count.unit}"
        if count.ok is None
        else f"{count.how}: {'yes' if count.ok else 'no'}"
        for count in counts
    )
    part = Part(
        value=value,
        samples=len(counts),
        says=says,
        missing=None if numbers else "it was checked, but not counted",
        missed=f"does not hold: {'; '.join(count.how for count in broken)}" if broken else None,
    )
    return Measurement(value=value, samples=len(counts), says=says, parts=[part], evidence=["evidence/facts.jsonl"])


def _browser(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    tests = findings.evidence.browser
    if not tests:
        return _nothing(findings.skipped("e2e", "browser") or "no browser test was run")
    passed = sum(test.outcome == "passed" for test in tests)
    failed = [test for test in tests if test.outcome == "failed"]
    skipped = [test for test in tests if test.outcome == "skipped"]
    run = passed + len(failed)
    interval = share_interval(passed, run)
    value = 100 * passed / run if run else None
    says = f"{passed} of {run} tests passed, retries off"
    if interval is not None:
        says += f"; at 95% at least {interval[0]:.0%} of such runs would"
    if failed:
        says += f"; failed: {', '.join(test.id for test in failed[:3])}"
    part = Part(
        value=value,
        samples=run,
        says=says,
        missing=f"{len(skipped)} skipped: {skipped[0].detail or skipped[0].id}" if skipped and not failed else None,
    )
    return Measurement(
        value=value,
        interval=None if interval is None else (100 * interval[0], 100 * interval[1]),
        samples=run,
        says=says,
        parts=[part],
        evidence=["evidence/e2e/tests.jsonl"],
    )


def _honesty(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    if not findings.evidence.loads:
        return _nothing("no load was run")
    parts: list[Part] = []
    for load in findings.evidence.loads:
        rows = [f"{op.name}.{op.region}" if op.region else op.name for op in load.operations]
        gates = [findings.gates[row] for row in rows if row in findings.judged and row in findings.gates]
        ratio = load.sent / load.offered if load.offered else None
        lag_ms = percentile_ms(load.schedule_lag, 99)
        told = "" if ratio is None else f" sent {ratio:.2%} of {load.offered:,}"
        told += "" if lag_ms is None else f", schedule lag p99 {lag_ms:.2f} ms"
        parts.append(
            Part(
                name=load.scenario,
                value=ratio,
                samples=load.offered,
                says=f"{load.scenario}{told}",
                invalid=load_distrust(load, gates, findings.policy),
                window=(load.begin_ns, load.end_ns),
            )
        )
    known = [part.value for part in parts if part.value is not None]
    return Measurement(
        value=min(known, default=None),
        samples=sum(part.samples for part in parts),
        says="; ".join(part.says for part in parts),
        parts=parts,
        evidence=[_load_path(load) for load in findings.evidence.loads],
    )


MEASURES: dict[str, Measure] = {
    "api.read_p99": _latency,
    "api.write_p99": _latency,
    "bus.publish_p99": _latency,
    "bus.delivery_p99": _latency,
    "bus.end_to_end_p99": _latency,
    "realtime.p99": _latency,
    "availability": _availability,
    "recovery.rto": _rto,
    "recovery.rpo_loss": _rpo,
    "bus.exactly_once": _exactly_once,
    "data.countries": _count,
    "data.projects": _count,
    "data.points": _count,
    "web.e2e": _browser,
    "harness.honesty": _honesty,
}
"""How each row is measured, by its name without the region."""

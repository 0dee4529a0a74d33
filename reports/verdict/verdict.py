"""Evidence and gates in, verdicts out: a pure function, so that every report can be computed again offline.

A gate is missed (FAIL) only on valid evidence: a miss is INVALID if the harness cannot be trusted or the machine was
disturbed. A pass needs no such check of the machine, since a disturbance never makes a system look faster. A lost write
or a doubled effect is proof by itself, however the run went. FAIL outranks INVALID, which outranks INCONCLUSIVE, both
among the parts of a row and among the rows of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime

import msgspec

from reports.evidence import SCHEMA, Run, merge, percentile_ms
from reports.findings import browser, ceiling, evidence_contract, host, nights, possible, rehearsal
from reports.findings.ceiling import Calibrated
from reports.findings.evidence_contract import Difference
from reports.findings.findings import Finding, Findings, fault_proven, find, judged_rows, load_result, repeat
from reports.findings.loaded import Evidence
from reports.findings.nights import Alarm
from reports.model import (
    WORST_FIRST,
    Bound,
    Claim,
    Clocks,
    ExperimentResult,
    Loss,
    Planted,
    Report,
    Row,
    Verdict,
)
from reports.policy.claims import RowClaim
from reports.policy.policy import Policy, matches
from reports.verdict import knee, repeats
from reports.verdict.measures import MEASURES, Measurement, Part, measuring_s

_TO_MS = {"ms": 1.0, "s": 1000.0}
_NOTES_MAX = 20

Compare = Callable[[Evidence], list[Difference]]


class _Judged(msgspec.Struct, frozen=True):
    row: Row
    parts: list[tuple[Part, Verdict]]
    measuring_s: float | None = None


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """The one that outranks the others; NOT_JUDGED without any."""
    return min(verdicts, key=WORST_FIRST.index, default="NOT_JUDGED")


def _disturbance(findings: Findings, claim: RowClaim, gate: Bound, part: Part) -> str | None:
    if not part.timed or part.window is None:
        return None
    limits = findings.policy.host
    target_ms = gate.value * _TO_MS[gate.unit] if gate.unit in _TO_MS else None
    samples = host.within(findings.evidence.host, *part.window)
    return host.disturbance(samples, target_ms, matches(claim.row, limits.fsync_rows), limits)


def judge_part(part: Part, gate: Bound, minimum: int, disturbed: str | None) -> tuple[Verdict, str]:
    """The verdict on one part, and why. `minimum` is the fewest samples that are judged; `disturbed` says what
    disturbed the machine in the part's window, None if nothing did."""
    missed = part.missed is not None or (part.value is not None and not gate.met_by(part.value))
    measured = part.missed or part.says
    if missed and part.certain:
        return "FAIL", measured
    if part.invalid is not None:
        return "INVALID", (f"the host was disturbed: {disturbed}; " if disturbed else "") + part.invalid
    if missed and part.samples >= minimum:
        if disturbed is None:
            return "FAIL", measured
        return "INVALID", (f"{part.name}: " if part.name else "") + f"the host was disturbed: {disturbed}"
    if part.missing is not None or part.value is None:
        return "INCONCLUSIVE", part.missing or "not measured"
    if part.samples < minimum:
        why = f"{part.samples:,} samples of the {minimum:,} that it takes"
        return "INCONCLUSIVE", f"{part.name}: {why}" if part.name else why
    return "PASS", measured


def _unfinished(run: Run) -> str | None:
    match run.state:
        case "finished":
            return None
        case "interrupted":
            how = "the run was interrupted"
        case "not_started":
            how = "the system would not start"
        case "broken":
            how = "the run could not go on"
        case "running":
            how = "the run has not ended"
    return how + (f": {run.error}" if run.error else "")


def _why_not_judged(findings: Findings, claim: RowClaim) -> str:
    run = findings.evidence.run
    unbuilt = findings.policy.unbuilt_why(claim.row)
    if unbuilt is not None:
        return unbuilt
    if claim.since > run.schema:
        return f"recorded before schema {claim.since}"
    if claim.region is not None and claim.region not in run.regions:
        return f"{claim.region} is not part of size {run.size}"
    return f"profile {run.profile} does not judge it"


def _claim(claim: RowClaim, measurement: Measurement, calibrated: Calibrated | None) -> Claim:
    if not claim.claimed:
        return Claim(text="no claim: the project's own bar", op=None, value=None, unit=None, verdict="NOT_JUDGED")
    bound = claim.bound
    value = measurement.value if measurement.claim_value is None else measurement.claim_value
    if measurement.asked is not None and not bound.met_by(measurement.asked):
        value = None  # A claim of more was not put to the test.
    verdict: Verdict = "NOT_JUDGED"
    if value is not None and measurement.parts and all(part.missing for part in measurement.parts):
        verdict = "NOT_JUDGED" if measurement.unasked else "INCONCLUSIVE"
    elif value is not None and bound.met_by(value):
        verdict = "PASS"
    elif value is not None:
        # A claim above what the machine gives could still be met on a larger machine.
        verdict = "INCONCLUSIVE" if calibrated is not None and calibrated.beyond(bound) else "FAIL"
    return Claim(text=claim.text, op=bound.op, value=bound.value, unit=bound.unit, verdict=verdict)


def _durability(run: Run, measurement: Measurement) -> str:
    settings = measurement.settings or [run.durability, run.security]
    return "; ".join(dict.fromkeys(filter(None, settings)))


def _chosen(run: Run) -> bool:
    """Whether the run is one load that a user chose: then rows that its options leave out are not judged. Every other
    profile has to measure what it judges."""
    return run.profile.startswith("load.")


def _judge_row(
    findings: Findings, claim: RowClaim, floor: float | None, lifted: str | None, calibrated: Calibrated | None
) -> _Judged:  # fmt: skip
    run, gate = findings.evidence.run, findings.gates[claim.row]
    measure = MEASURES.get(claim.family)
    measurement = measure(findings, claim, gate) if measure else Measurement(parts=[])
    minimum = findings.policy.minimum_samples(claim.family)
    parts: list[tuple[Part, Verdict]] = []
    whys: dict[Verdict, list[str]] = {}
    for part in measurement.parts:
        disturbed = _disturbance(findings, claim, gate, part)
        verdict, why = judge_part(part, gate, minimum, disturbed)
        parts.append((part, verdict))
        whys.setdefault(verdict, []).append(why)
    if claim.row in findings.judged and not (measurement.unasked and _chosen(run)):
        if below := possible.below_floor(findings.evidence, claim.row, floor, measurement.value):
            whys.setdefault("INVALID", []).append(below)
        if lacking := findings.lacking(claim.row):
            whys.setdefault("INCONCLUSIVE", []).extend(lacking)
        verdict = worst_verdict(whys)
        reasons = [measurement.says] if verdict == "PASS" else whys[verdict]
        if verdict == "INCONCLUSIVE" and (unfinished := _unfinished(run)):
            reasons.append(unfinished)
        reasons += [lifted] if lifted else []
        reasons += [calibrated.says] if calibrated else []
        reasons += [death for part, _ in parts if part.window for death in findings.deaths(part.window)]
        why = "; ".join(dict.fromkeys(reasons))
    else:
        unasked = measurement.unasked if claim.row in findings.judged else None
        reason = "; ".join(filter(None, (unasked, calibrated.says if calibrated else None)))
        verdict, why = "NOT_JUDGED", reason if unasked else _why_not_judged(findings, claim)
    row = Row(
        id=claim.row,
        claim=_claim(claim, measurement, calibrated),
        gate=gate,
        measured=measurement.value,
        unit=gate.unit,
        interval=measurement.interval,
        samples=measurement.samples,
        floor=floor,
        ceiling=calibrated.ceiling(measurement.value) if calibrated else None,
        baseline=None,
        verdict=verdict,
        why=why or "met",
        durability=_durability(run, measurement),
        evidence=measurement.evidence + (calibrated.evidence if calibrated else []),
        p999=measurement.p999,
        max=measurement.max,
    )
    held = parts if claim.since <= run.schema else []  # What an older run could not hold says nothing of its parts.
    return _Judged(row, held, measuring_s(measurement))


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _loss(found: list[Finding]) -> Loss | None:
    ledgers = [finding.ledger for finding in found if finding.ledger]
    if not ledgers:
        return None
    stores = [hop for ledger in ledgers for hop in ledger.hops if hop.hop == "postgres"]
    effects = [hop for ledger in ledgers for hop in ledger.hops if hop.effect]
    ages = [ledger.lost_seconds for ledger in ledgers if ledger.lost_seconds is not None]
    return Loss(
        acked=sum(ledger.acked for ledger in ledgers),
        lost=_sum(hop.lost for hop in stores),
        lost_seconds=max(ages, default=None),
        duplicated=_sum(hop.duplicated for hop in effects),
        unknown=sum(ledger.unknown for ledger in ledgers),
    )


def _slowest(found: list[Finding]) -> Finding:
    def length(finding: Finding) -> tuple[bool, float]:
        stable = finding.clocks.slo_stable
        return (finding.worst is not None and stable is None, stable or 0.0)

    return max(found, key=length)


def _experiment(name: str, findings: Findings, rows: list[_Judged]) -> ExperimentResult:
    counted = [finding for finding in findings.experiments if finding.trial.record.id == name]
    # What was written in a try that was set aside counts, its clocks do not.
    every = counted + [finding for finding in findings.set_aside if finding.trial.record.id == name]
    names = {finding.name for finding in every} | {name}
    verdict = worst_verdict(verdict for judged in rows for part, verdict in judged.parts if part.name in names)
    if any(f"/{each}/" in difference.path for each in names for difference in findings.differences):
        verdict = worst_verdict([verdict, "INCONCLUSIVE"])
    slowest = _slowest(counted) if counted else None
    budgets = [result.budget_s for finding in counted for result in finding.recoveries]
    nothing = Clocks(detected=None, first_success=None, slo_stable=None, redundancy=None)
    return ExperimentResult(
        id=name,
        verdict=verdict,
        fault_proven=bool(counted) and all(fault_proven(finding.trial.record) for finding in counted),
        healed=bool(counted) and all(finding.trial.record.healed is True for finding in counted),
        repeats=len(counted),
        rto_s=slowest.clocks if slowest else nothing,
        rpo=_loss(every),
        worst=slowest.worst if slowest else None,
        budget_s=max(budgets, default=None),
    )


def _experiments(findings: Findings, rows: list[_Judged]) -> list[ExperimentResult]:
    done = [finding.trial.record.id for finding in findings.experiments]
    return [_experiment(name, findings, rows) for name in dict.fromkeys([*findings.evidence.run.experiments, *done])]


def _planted(alarms: list[Alarm]) -> Planted:
    outcomes = [alarm.outcome for alarm in alarms]
    return Planted(
        caught=outcomes.count("caught"),
        missed=outcomes.count("missed"),
        false_alarms=sum(len(alarm.false_alarms) for alarm in alarms),
    )


def _notes(findings: Findings, repeated: list[str]) -> list[str]:
    run, events = findings.evidence.run, findings.evidence.timeline
    notes = [unfinished] if (unfinished := _unfinished(run)) else []
    if run.schema < SCHEMA:
        notes.append(f"recorded with schema {run.schema}, and judged again by the rules of schema {SCHEMA}: no GO")
    notes += repeated
    if run.planted:
        notes.append(f"the system carried a planted bug: {run.planted}")
    notes += [each.says for each in findings.rehearsed if each.outcome != "carried"]
    notes += findings.deaths()
    notes += [f"{event.name}: {event.detail}" for event in events if event.kind == "error"]
    notes += [f"{event.name} was skipped: {event.detail}" for event in events if event.kind == "skipped"]
    early = [load for load in findings.evidence.loads if load.ended_early]
    notes += [f"{load.scenario} was ended early {load.ended_early}" for load in early]
    for load in findings.evidence.loads:
        if load.closed_loop:
            all_of_it = merge(operation.latencies for operation in load.operations)
            notes.append(
                f"{load.scenario} is a closed loop, p99 {percentile_ms(all_of_it, 99) or 0:.1f} ms: its response times "
                "leave out coordinated omission, what requests would have waited that a slow answer kept from being "
                "sent; no row of latency is judged by them"
            )
    notes += [f"damaged evidence: {problem}" for problem in findings.evidence.problems]
    notes += [f"evidence is not as it was to be: {difference}" for difference in findings.differences]
    for finding in findings.experiments:
        notes += [f"{finding.name}: {problem}" for problem in finding.trial.record.problems]
    notes = list(dict.fromkeys(notes))
    left_out = len(notes) - _NOTES_MAX
    return notes if left_out <= 0 else [*notes[:_NOTES_MAX], f"and {left_out} more in evidence/timeline.jsonl"]


def _waived(policy: Policy, rows: list[Row], day: date) -> dict[str, str]:
    waived: dict[str, str] = {}
    for row in rows:
        waiver = policy.waiver(row.id, day)
        if waiver and row.verdict in ("FAIL", "INVALID", "INCONCLUSIVE"):
            waived[row.id] = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
    return waived


def _duration_s(run: Run) -> float | None:
    if run.finished_at is None:
        return None
    return (datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)).total_seconds()


def _gate(
    policy: Policy, claim: RowClaim, floor: float | None, calibrated: Calibrated | None
) -> tuple[Bound, str | None]:  # fmt: skip
    """(gate, why): the policy's gate and None, or a gate that a floor or the machine's ceiling moved, and the
    reason."""
    bound, lifted = possible.gate(policy, claim, floor)
    lowered, why = ceiling.gate(policy, claim, bound, calibrated)
    return lowered, why or lifted


def judge(
    evidence: Evidence, claims: list[RowClaim], policy: Policy, compare: Compare = evidence_contract.differences
) -> Report:
    """The report of a run; `compare` says what of the evidence is not as it was to be. PolicyError if the run's profile
    is unknown."""
    run = evidence.run
    floors = possible.floors(evidence, claims)
    calibrated = ceiling.ceilings(evidence, policy)
    gated = {claim.row: _gate(policy, claim, floors.get(claim.row), calibrated.get(claim.row)) for claim in claims}
    lifted = {row: why for row, (_, why) in gated.items() if why is not None}
    judged = judged_rows(evidence, claims, policy)
    findings = find(evidence, policy, {row: bound for row, (bound, _) in gated.items()}, judged, compare(evidence))
    findings = rehearsal.with_rehearsals(findings)
    results = [
        _judge_row(findings, claim, floors.get(claim.row), lifted.get(claim.row), calibrated.get(claim.row))
        for claim in claims
    ]
    rows = [result.row for result in results]
    waived = _waived(policy, rows, datetime.fromisoformat(run.started_at).date())
    verdict = worst_verdict(row.verdict for row in rows if row.id in judged and row.id not in waived)
    knees = knee.results(evidence)
    alarms = nights.alarms(evidence.planted)
    verdict = worst_verdict([verdict, *(each.verdict for each in knees)])
    failed = evidence_contract.failed_phases(evidence)
    lacking = evidence.problems or failed or findings.differences
    if not judged or run.state != "finished" or lacking or run.schema < SCHEMA:
        verdict = worst_verdict([verdict, "INCONCLUSIVE"])
    elif verdict == "NOT_JUDGED":
        verdict = "PASS"  # every judged row is waived
    first = repeats.first_tries(evidence, verdict, rows, lambda tried: judge(tried, claims, policy, compare))
    return Report(
        run_id=run.run_id,
        verdict=verdict,
        profile=run.profile,
        seed=run.seed,
        release=run.release,
        started_at=run.started_at,
        finished_at=run.finished_at,
        fingerprint=run.fingerprint,
        slos=rows,
        experiments=_experiments(findings, results),
        e2e=browser.outcomes(evidence.browser),
        planted=_planted(alarms),
        tries=repeats.tries(evidence),
        first_tries=first,
        state=run.state,
        error=run.error,
        planted_bug=run.planted,
        durability=run.durability,
        security=run.security,
        command=run.command,
        size=run.size,
        bus=run.bus,
        distance=run.distance,
        regions=run.regions,
        duration_s=_duration_s(run),
        waived=waived,
        notes=_notes(findings, repeats.words(evidence, first)),
        repeats=[repeat(finding, findings) for finding in findings.experiments],
        ledgers=list(findings.ledgers.values()),
        loads=[load_result(load) for load in evidence.loads],
        rehearsed=findings.rehearsed,
        knees=knees,
        measuring_s={each.row.id: each.measuring_s for each in results if each.measuring_s is not None},
        host=host.summary(evidence.host),
        preflight=evidence.preflight,
        possible=possible.possibilities(evidence),
        lifted=lifted,
        failed_phases=failed,
        alarms=[alarm.in_words() for alarm in alarms],
        left_out=[nights.not_tonight(left, run) for left in evidence.left_out],
    )


def exit_code(report: Report) -> int:
    """The exit code of the command that made the run: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 INVALID, 5 the system
    would not start, 130 interrupted."""
    if report.state == "interrupted":
        return 130
    if report.state == "not_started":
        return 5
    return {"PASS": 0, "FAIL": 1, "INVALID": 4, "INCONCLUSIVE": 3, "NOT_JUDGED": 3}[report.verdict]

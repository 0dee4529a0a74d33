"""The verdicts on a search for a knee and on each of its tries. Pure.

A try is judged like a run of its own. If it is INVALID, its outcome says why: with a late generator nothing can be
known of the system at that rate, a disturbed machine asks for another try.
"""

from __future__ import annotations

import math
from collections import defaultdict

from reports import words
from reports.evidence import HostSample, Knee, KneeStep, Load, StepLatency, StepOutcome, StepRow, percentile_ms
from reports.findings import host
from reports.findings.findings import load_distrust
from reports.findings.loaded import Evidence
from reports.model import Bound, KneeResult, Report, Row, Verdict
from reports.policy.policy import Policy, matches

_WHY_MAX = 300
_KINDS_NAMED = 3
"""How many kinds of process a miss names, those that used most CPU."""


def step(scenario: str, rate: float, folder: str, evidence: Evidence, report: Report, policy: Policy) -> KneeStep:
    """The record of a try at `rate` operations a second. `evidence` holds the scenario's load, and loads beside it if
    there are any; `report` is the report on it; `folder` is relative to the run folder."""
    load = next(load for load in evidence.loads if load.scenario == scenario)
    begin_ns, end_ns = min(each.begin_ns for each in evidence.loads), max(each.end_ns for each in evidence.loads)
    judged = [row for row in report.slos if row.verdict != "NOT_JUDGED"]
    samples = host.within(evidence.host, begin_ns, end_ns)
    outcome = _outcome(evidence.loads, judged, samples, report.verdict, policy)
    to_blame = [row for row in judged if row.verdict == report.verdict != "PASS"]
    seconds = (load.end_ns - load.begin_ns) / 1e9
    return KneeStep(
        rate=rate,
        folder=folder,
        begin_ns=begin_ns,
        end_ns=end_ns,
        outcome=outcome,
        why=words.shortened(_why(to_blame) or _lacking(report), _WHY_MAX),
        offered_per_s=load.offered_per_s,
        achieved_per_s=load.ok / seconds if seconds > 0 else 0.0,
        rows=[_row(row) for row in judged],
        latencies=[found for each in evidence.loads for found in _latencies(each, judged)],
        busy=sum(sample.busy for sample in samples) / len(samples) if samples else None,
        by_kind=_by_kind(samples),
    )


def _lacking(report: Report) -> str:
    """What all rows lack together; empty if every gate held."""
    return "" if report.verdict == "PASS" else next(iter(report.notes), "")


def _why(rows: list[Row]) -> str:
    """Each reason once, after the rows that share it."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        reasons[row.why].append(row.id)
    return "; ".join(f"{', '.join(ids)}: {why}" for why, ids in reasons.items())


def _outcome(
    loads: list[Load], judged: list[Row], samples: list[HostSample], verdict: Verdict, policy: Policy
) -> StepOutcome:  # fmt: skip
    match verdict:
        case "PASS":
            return "held"
        case "FAIL":
            return "missed"
        case "INVALID":
            late = any(load_distrust(load, _gates(load, judged), policy) is not None for load in loads)
            return "late" if late and not _disturbed(judged, samples, policy) else "disturbed"
        case _:
            return "inconclusive"


def _gates(load: Load, judged: list[Row]) -> list[Bound]:
    """The gates of the rows that the load is evidence for."""
    rows = [operation.row for operation in load.operations]
    return [row.gate for row in judged if row.gate is not None and row.id in rows]


def _disturbed(judged: list[Row], samples: list[HostSample], policy: Policy) -> bool:
    for row in judged:
        target_ms = row.gate.value if row.gate is not None and row.gate.unit == "ms" else None
        waits_for_disk = matches(row.id, policy.host.fsync_rows)
        if host.disturbance(samples, target_ms, waits_for_disk, policy.host):
            return True
    return False


def _row(row: Row) -> StepRow:
    measured = None if row.measured is None or math.isinf(row.measured) else row.measured
    return StepRow(id=row.id, measured=measured, unit=row.unit, gate=words.bound(row.gate), verdict=row.verdict)


def _latencies(load: Load, judged: list[Row]) -> list[StepLatency]:
    gates = {row.id: row.gate.value for row in judged if row.gate is not None and row.gate.unit == "ms"}
    found = []
    for operation in load.operations:
        known = operation.latencies
        found.append(
            StepLatency(
                row=operation.row,
                p50_ms=_finite(percentile_ms(known, 50)),
                p99_ms=_finite(percentile_ms(known, 99)),
                samples=known.samples + known.failed + known.unknown,
                gate_ms=gates.get(operation.row),
            )
        )
    return found


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _by_kind(samples: list[HostSample]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for sample in samples:
        for kind, share in sample.by_kind.items():
            total[kind] += share / len(samples)
    return dict(total)


def results(evidence: Evidence) -> list[KneeResult]:
    """Every search of the run with its verdict."""
    return [
        KneeResult(knee=each, verdict=found, says=says) for each in evidence.knees for found, says in [verdict(each)]
    ]


def verdict(knee: Knee) -> tuple[Verdict, str]:
    """The verdict on a search, with the tries below its knee, and that verdict in words."""
    found, says = _search(knee)
    if not knee.with_room:
        return found, says
    step = knee.with_room[-1]
    # A rate that held is no knee if a lower rate misses a gate.
    return "FAIL" if step.outcome == "missed" else found, f"{says}; {_with_room(knee, step)}"


def _with_room(knee: Knee, step: KneeStep) -> str:
    """The rows of a try below the knee, in words; after a miss also which processes used the CPU."""
    rows = ", ".join(f"{row.id} {words.amount(row.measured, row.unit)}" for row in step.rows if row.unit == "ms")
    at = f"at {words.number(step.rate)}"
    if step.outcome == "held":
        return f"{at} every gate held" + (f" ({rows})" if rows else "")
    if step.outcome != "missed":
        return f"{at} nothing is known: {step.why}"
    used = sorted(step.by_kind.items(), key=lambda each: -each[1])[:_KINDS_NAMED]
    by = ", ".join(f"{kind} {share:.0%}" for kind, share in used)
    return f"{at} a gate was missed: {step.why}" + (f"; who used the cores: {by}" if by else "")


def _search(knee: Knee) -> tuple[Verdict, str]:
    what = f"the knee of {knee.scenario}"
    held = "" if knee.held is None else f"{words.number(knee.held)} {knee.unit} held"
    missed = "" if knee.missed is None else words.number(knee.missed)
    last = next((each.why for each in reversed(knee.steps) if each.outcome != "held"), "")
    reason = f" ({last})" if last else ""
    match knee.end:
        case "found":
            return "PASS", f"{what} lies from {words.number(knee.held)} to {missed} {knee.unit}"
        case "late":
            return "INVALID", (
                f"{held or 'nothing held'}, at {missed} the generator itself was late: {what} is the generator's, that"
                f" of the system may lie higher{reason}"
            )
        case "above":
            return "INCONCLUSIVE", f"{held}, the highest rate that was asked for: {what} lies above; raise --to"
        case "below":
            return "FAIL", f"even {missed} {knee.unit} missed a gate: {what} lies below; lower --from{reason}"
        case "disturbed":
            return "INVALID", f"{what} was not found: the machine stayed disturbed{_so_far(held)}{reason}"
        case "inconclusive":
            return "INCONCLUSIVE", (
                f"{what} was not found: a step had not enough evidence, take a longer --duration{_so_far(held)}{reason}"
            )
        case "failed":
            return "INVALID", f"{what} was not found: a load could not be made{_so_far(held)}{reason}"
        case "tries":
            return "INCONCLUSIVE", f"{what} was not found within {len(knee.steps)} tries{_so_far(held)}"
        case None:
            return "INCONCLUSIVE", f"{what} was not found: the search was interrupted{_so_far(held)}"


def _so_far(held: str) -> str:
    return f"; {held}" if held else ""

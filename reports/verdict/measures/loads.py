"""Rows that loads are evidence for: latency, availability, and whether the load itself can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from reports.evidence import Latencies, Load, merge, percentile_ms
from reports.findings.findings import Findings, Window
from reports.findings.intervals import percentile_interval_ms, share_interval
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.parts import Measurement, Part, nothing

LAG_RESOLUTION = "recovery.lag_resolution"
"""The operation that holds how long ago a replica had been looked at before, for each sample of its lag."""
_SETTINGS = ("durability", "security", "arrivals")
"""Settings of a load that stand with each of its figures."""
_P999_FROM = 1000
"""Fewer operations have no 99.9th percentile: it would be their maximum."""


def load_path(load: Load) -> str:
    """The path of the load's record, relative to the run folder."""
    return f"evidence/load/{load.scenario}.json"


def latency(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The p99 in ms, over all loads that are evidence for the row. What others measured is shown if there is none."""
    measured = [
        (load, operation.latencies)
        for load in findings.evidence.loads
        for operation in load.operations
        if operation.name == claim.family and operation.region == claim.region
    ]
    untimed = [load.untimed[claim.family] for load in findings.evidence.loads if claim.family in load.untimed]
    found = [(load, latencies) for load, latencies in measured if claim.family not in load.untimed]
    if found:
        return _percentile(findings, found, gate)
    if not untimed:
        return nothing("no load measured it")
    shown = _percentile(findings, measured, gate) if measured else nothing("")
    return msgspec.structs.replace(shown, parts=nothing(untimed[0]).parts, unasked=untimed[0])


def _percentile(findings: Findings, found: Sequence[tuple[Load, Latencies]], gate: Bound) -> Measurement:
    """The p99 of what these loads measured."""
    latencies = merge(part for _, part in found)
    loads = [load for load, _ in found]
    total = latencies.samples + latencies.failed + latencies.unknown
    impossible = latencies.min_us < -findings.policy.honesty.lag_share_max * gate.value * 1000
    # One clock measured both ends, so that nothing explains them: what is wrong is none of the fast ones.
    extra = latencies.negative if impossible else 0
    ranked = msgspec.structs.replace(latencies, unknown=latencies.unknown + extra)
    value = percentile_ms(ranked, 99)
    says = f"p99 of {total:,} operations"
    if latencies.failed or latencies.unknown:
        says += f", {latencies.failed:,} failed and {latencies.unknown:,} without an answer among the slowest"
    if latencies.negative:
        says += f", {latencies.negative:,} below zero (lowest {latencies.min_us / 1000:.3f} ms)"
        says += ", which rank among the slowest" if impossible else ""
    says += "".join(f"; {load.scenario} was ended early {load.ended_early}" for load in loads if load.ended_early)
    part = Part(
        value=value,
        samples=total,
        says=says,
        invalid=findings.distrusted(loads, [gate]),
        missed=f"more than 1% of all operations failed or never answered: {says}" if value == math.inf else None,
        timed=True,
        window=(min(load.begin_ns for load in loads), max(load.end_ns for load in loads)),
    )
    return Measurement(
        value=value,
        interval=percentile_interval_ms(ranked, 99),
        samples=total,
        p999=percentile_ms(ranked, 99.9) if total >= _P999_FROM else None,
        max=percentile_ms(ranked, 100),
        says=says,
        parts=[part],
        settings=[load.settings[key] for load in loads for key in _SETTINGS if key in load.settings],
        evidence=[load_path(load) for load in loads],
    )


def lag(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The p99 of the replication lag of a region in ms; each sample is an upper bound. A miss that may lie in the time
    between two looks at the replica is the harness's."""
    found = latency(findings, claim, gate)
    loads = findings.evidence.loads
    [part] = found.parts
    worst = _percentile_ms(loads, claim.family, claim.region, 100)
    unsure = _percentile_ms(loads, LAG_RESOLUTION, claim.region, 99)
    if part.value is None or worst is None or unsure is None:
        return found
    says = f"{part.says}, the worst {worst:,.1f} ms; of a lag at most {unsure:,.1f} ms (p99) lie between two looks"
    late = unsure > findings.policy.honesty.lag_share_max * gate.value and not gate.met_by(part.value)
    invalid = [part.invalid, f"the replica was looked at too rarely: {says}" if late else None]
    judged = msgspec.structs.replace(part, says=says, invalid="; ".join(filter(None, invalid)) or None)
    return msgspec.structs.replace(found, says=says, parts=[judged])


def _percentile_ms(loads: list[Load], name: str, region: str | None, percent: float) -> float | None:
    found = [each.latencies for load in loads for each in load.operations if (each.name, each.region) == (name, region)]
    return percentile_ms(merge(found), percent)


def _outside(load: Load, windows: list[Window]) -> tuple[int, int]:
    """(succeeded, all) requests of a load outside fault windows; a second that touches a window is left out."""
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


def availability(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The percentage of requests outside fault windows that succeeded."""
    loads = [load for load in findings.evidence.loads if load.requests]
    if not loads:
        return nothing("no load sent requests to the API")
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
        # `timed`: a machine that is taken away makes requests time out, which proves nothing against the system.
        parts=[
            Part(
                value=value,
                samples=total,
                says=says,
                invalid=findings.distrusted(loads, []),
                timed=True,
                window=window,
            )
        ],
        evidence=[load_path(load) for load in loads],
    )


def honesty(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The share of its offered operations that a load sent; of all loads the least."""
    scheduled = [load for load in findings.evidence.loads if not load.closed_loop]
    if not scheduled:
        return nothing("no load with a schedule was run")
    parts: list[Part] = []
    for load in scheduled:
        rows = [operation.row for operation in load.operations if operation.name not in load.untimed]
        gates = [findings.gates[row] for row in rows if row in findings.judged and row in findings.gates]
        ratio = load.sent / load.offered if load.offered else None
        lag_ms = percentile_ms(load.schedule_lag, 99)
        detail = "" if ratio is None else f" sent {ratio:.2%} of {load.offered:,}"
        detail += "" if lag_ms is None else f", schedule lag p99 {lag_ms:.2f} ms"
        parts.append(
            Part(
                name=load.scenario,
                value=ratio,
                samples=load.offered,
                says=f"{load.scenario}{detail}",
                invalid=findings.distrusted([load], gates),
                timed=True,
                window=(load.begin_ns, load.end_ns),
            )
        )
    known = [part.value for part in parts if part.value is not None]
    return Measurement(
        value=min(known, default=None),
        samples=sum(part.samples for part in parts),
        says="; ".join(part.says for part in parts),
        parts=parts,
        evidence=[load_path(load) for load in scheduled],
    )

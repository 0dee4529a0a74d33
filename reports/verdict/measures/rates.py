"""Rows that are rates: how much of a schedule was completed at its pace."""

from __future__ import annotations

from reports.findings.ceiling import ceilings, completed_per_s, least_gate
from reports.findings.findings import Findings
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.loads import load_path
from reports.verdict.measures.parts import Measurement, Part, nothing

_GRACE = Bound(op="<", value=250, unit="ms")
"""Operations that complete this soon after the window still count (`reports.evidence.Rate`). A generator whose lag is
more than a share of that makes a fast system look slow."""


def rate(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The rate that was completed of the load with the highest offered rate. A load that offers less than the gate can
    neither meet nor miss it. Where the machine may be too small and no ceiling holds, only a miss of the lowest gate
    that is possible is one."""
    found = [(load, each) for load in findings.evidence.loads for each in load.rates if each.name == claim.family]
    if not found:
        return nothing("no load measured it")
    load, most = max(found, key=lambda pair: pair[0].offered_per_s)
    value = completed_per_s(load, most)
    seconds = (load.end_ns - load.begin_ns) / 1e9
    says = f"{value:,.0f} of {load.offered_per_s:,.0f} {gate.unit} were completed at their pace, for {seconds:.0f} s"
    calibrated = ceilings(findings.evidence, findings.policy).get(claim.row)
    least = least_gate(findings.policy, claim, gate, calibrated)
    takes = (least or gate).value
    unasked = unsure = None
    if load.offered_per_s < takes:
        unasked = f"{load.scenario} offered {load.offered_per_s:,.0f} {gate.unit}; it takes {takes:,.0f} to judge it"
    elif least is not None and least.met_by(value) and not gate.met_by(value):
        unsure = f"{says}; {gate.value:,.0f} are asked for, and no ceiling holds that shows what the machine can give"
    least_s = findings.policy.minimum_seconds(claim.family)
    short = f"{seconds:.0f} s of the {least_s:.0f} that it takes" if seconds < least_s else None
    missing = unasked or short or unsure
    part = Part(
        name=load.scenario,
        value=None if missing else value,
        samples=most.offered,
        says=says,
        missing=missing,
        invalid=findings.distrusted([load], [] if gate.met_by(value) else [_GRACE]),
        timed=True,
        window=(load.begin_ns, load.end_ns),
    )
    return Measurement(
        value=value,
        samples=most.offered,
        says=says,
        parts=[part],
        settings=[load.settings[key] for key in ("durability", "security", "path", "mode") if key in load.settings],
        evidence=[load_path(load)],
        unasked=unasked,
        asked=load.offered_per_s,
    )

"""Rows that are rates: how much of a schedule was completed at its pace."""

from __future__ import annotations

from reports.evidence import Load, Rate
from reports.findings.findings import Findings, load_distrust
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.loads import load_path
from reports.verdict.measures.parts import Measurement, Part, nothing

_GRACE = Bound(op="<", value=250, unit="ms")
"""After the window's end, what completes still counts (`reports.evidence.Rate`): a generator that is late by more than
a share of it makes a system look slow that is not."""


def rate(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """What the load that offered most completed. A load that offers less than the gate cannot miss it, nor meet it."""
    found = [(load, each) for load in findings.evidence.loads for each in load.rates if each.name == claim.family]
    if not found:
        return nothing("no load measured it")
    load, most = max(found, key=lambda pair: pair[0].offered_per_s)
    value = _per_s(load, most)
    seconds = (load.end_ns - load.begin_ns) / 1e9
    says = f"{value:,.0f} of {load.offered_per_s:,.0f} {gate.unit} were completed at their pace, for {seconds:.0f} s"
    unasked = None
    if load.offered_per_s < gate.value:
        unasked = (
            f"{load.scenario} offered {load.offered_per_s:,.0f} {gate.unit}; it takes {gate.value:,.0f} to judge it"
        )
    least_s = findings.policy.minimum_seconds(claim.family)
    short = f"{seconds:.0f} s of the {least_s:.0f} that it takes" if seconds < least_s else None
    part = Part(
        name=load.scenario,
        value=None if unasked or short else value,
        samples=most.offered,
        says=says,
        missing=unasked or short,
        invalid=load_distrust(load, [] if gate.met_by(value) else [_GRACE], findings.policy),
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


def _per_s(load: Load, found: Rate) -> float:
    """The share of the schedule that was kept, as a rate."""
    return load.offered_per_s * found.completed / found.offered if found.offered else 0.0

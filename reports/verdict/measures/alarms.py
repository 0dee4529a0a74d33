"""Whether the alarms work: bugs that were planted turn the rows red that they must, and no other."""

from __future__ import annotations

from reports.findings.findings import Findings
from reports.findings.nights import Alarm, alarms
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.parts import Measurement, Part, nothing


def caught(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The percentage of the planted bugs that were caught. A false alarm misses the gate whatever was caught."""
    found = alarms(findings.evidence.planted)
    if not found:
        return nothing("no planted bug was run")
    certain = [alarm for alarm in found if alarm.outcome in ("caught", "missed")]
    red = sum(alarm.outcome == "caught" for alarm in certain)
    false = sum(len(alarm.false_alarms) for alarm in found)
    value = 100 * red / len(certain) if certain else None
    return Measurement(
        value=value,
        samples=len(certain),
        says=f"{red} of {len(certain)} planted bugs caught, {false} false alarms",
        parts=[_part(alarm) for alarm in found if alarm.outcome != "harmless" or alarm.false_alarms]
        or nothing("no planted bug that has to turn a row red was run").parts,
        evidence=[f"evidence/planted/{alarm.name}.json" for alarm in found],
    )


def _part(alarm: Alarm) -> Part:
    says = alarm.in_words()
    missed = alarm.outcome == "missed" or bool(alarm.false_alarms)
    return Part(
        name=alarm.name,
        value={"caught": 100.0, "missed": 0.0}.get(alarm.outcome),
        samples=1,
        says=says,
        missing=says if alarm.outcome == "unproven" else None,
        missed=says if missed else None,
    )

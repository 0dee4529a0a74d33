"""The row `api.consistency`: what clients read is what was written, as their sessions and the bounds ask for it."""

from __future__ import annotations

from reports.evidence import Consistency
from reports.findings.findings import Findings, in_try, numbered_tries
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.parts import Measurement, Part, nothing

_EXAMPLES = 3


def consistency(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """Anomalies in what the clients of loads read and wrote. A miss is proof, whatever disturbed the machine."""
    evidence = findings.evidence
    found = {each.scenario: each for each in evidence.consistency}
    aside = {
        in_try(each.scenario, number): each for number, tried in numbered_tries(evidence) for each in tried.consistency
    }
    if not found and not aside:
        return nothing("no load kept a history of what its clients read")
    parts = [_part(name, each, evidence.run.regions) for name, each in found.items()]
    # Of a try that does not count only what is wrong is judged.
    parts += [_part(name, each, []) for name, each in aside.items() if each.anomalies]
    known = [part for part in parts if part.value is not None]
    return Measurement(
        value=sum(part.value or 0 for part in known) if known else None,
        samples=sum(part.samples for part in parts),
        says="; ".join(part.says for part in parts),
        parts=parts,
        evidence=[path for path in evidence.files if path.startswith(("evidence/consistency/", "evidence/sessions/"))],
    )


def _part(name: str, found: Consistency, regions: list[str]) -> Part:
    wrong = sum(found.anomalies.values())
    says = (
        f"{name}: {found.reads:,} reads of {found.contents:,} items compared, {sum(found.own_reads.values()):,} of them"
        f" after own writes, {found.walks:,} lists read to their end, no anomaly; others' writes seen within"
        f" {found.stale_within_s:g} s"
    )
    if wrong:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.anomalies.items()))
        says = f"{name}: {kinds} ({'; '.join(found.examples[:_EXAMPLES])})"
    blind = [region for region in regions if not found.own_reads.get(region)]
    missing = None
    if found.problem is not None:
        missing = f"{name}: its history could not be read: {found.problem}"
    elif blind:
        missing = f"{name}: nothing was read after an own write in {', '.join(blind)}"
    elif not found.walks and regions:
        missing = f"{name}: no list was read to its end"
    return Part(
        name=name,
        value=None if found.problem else wrong,
        samples=found.reads,
        says=says,
        missing=missing,
        missed=says if wrong else None,
        certain=True,
    )

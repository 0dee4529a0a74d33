"""Rows of the worst that can be said: a system that is not whole again, parts that die, consumers that stop."""

from __future__ import annotations

from reports.findings.findings import Finding, Findings
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.checks import in_words
from reports.verdict.measures.parts import Measurement, Part, nothing


def redundancy(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """How many experiments ended with a system that was not whole again, though the fault was undone."""
    parts = [_redundancy_part(finding) for finding in findings.experiments]
    parts += [Part(name=name, value=None, missing=f"{name}: {why}") for name, why in findings.without_result()]
    if not parts:
        return nothing("no experiment was run")
    known = [part.value for part in parts if part.value is not None]
    return Measurement(
        value=sum(known) if known else None,
        samples=sum(part.samples for part in parts),
        says=", ".join(part.says for part in parts if part.says),
        parts=parts,
        evidence=[f"evidence/chaos/{finding.name}/experiment.json" for finding in findings.experiments],
    )


def _redundancy_part(finding: Finding) -> Part:
    record, took_s = finding.trial.record, finding.clocks.redundancy
    whole = record.whole if record.whole is not None else (True if took_s is not None else None)
    problem = next((each for each in record.problems if each.startswith("not whole")), "it was not whole again")
    says = f"{finding.name} {took_s:.1f} s" if took_s is not None else finding.name
    return Part(
        name=finding.name,
        value=None if whole is None else float(not whole),
        samples=0 if whole is None else 1,
        says=says,
        missing=f"{finding.name}: it is not known whether it was whole again" if whole is None else None,
        invalid=finding.distrust and f"{finding.name}: {finding.distrust}",
        missed=f"{finding.name}: {problem}" if whole is False else None,
        timed=True,
        window=finding.window,
    )


def parts(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """How many parts died unasked in the run, or did not run at its end, and whether the consumers had all applied."""
    counts = [count for count in findings.evidence.counts if count.row == claim.row]
    deaths = findings.deaths()
    if not counts and not deaths:
        return nothing("nobody looked at the parts at the end of the run")
    wrong = [in_words(count) for count in counts if count.ok is False]
    says = f"{len(counts)} parts and conditions as they should be at the end, and no part died unasked"
    missed = "; ".join([*deaths, *wrong]) or None
    return Measurement(
        value=float(len(deaths) + len(wrong)),
        samples=len(counts),
        says=says,
        parts=[
            Part(
                value=float(len(deaths) + len(wrong)),
                samples=len(counts),
                says=says,
                missing=None if counts else "nobody looked at the parts at the end of the run",
                missed=missed,
                certain=bool(deaths),
            )
        ],
        evidence=["evidence/timeline.jsonl", "evidence/facts.jsonl"],
    )

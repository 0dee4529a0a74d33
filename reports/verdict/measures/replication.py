"""The bus's replication: copies as every node holds them, and what the loss of a node costs."""

from __future__ import annotations

import msgspec

from reports.findings.findings import Finding, Findings
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures import checks
from reports.verdict.measures.parts import Measurement, Part

NODE_LOST = "bus-leader-kill"
"""The experiment that loses a node, the one whose loss costs most."""
_STREAM, _PUBLISH = "stream", "publish"


def replication(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The fewest copies of any stream; and, where a node was killed, that the others took messages on, and that the
    stream has all that was acknowledged."""
    counted = checks.count(findings, claim, gate)
    numbers = [each for each in findings.evidence.counts if each.row == claim.row]
    broken = [checks.in_words(each) for each in numbers if each.ok is False]
    says = "; ".join(broken) if broken else f"{len(numbers)} facts of every node's own copies hold"
    parts = [_copies(part, says) for part in counted.parts]
    lost = [_node_lost(each, gate) for each in findings.experiments if each.trial.record.id == NODE_LOST]
    lost += [part for each in findings.set_aside if each.trial.record.id == NODE_LOST for part in _contents(each)]
    scope = "; ".join(part.says for part in lost) or "no node was lost in this run"
    says += f"; {scope}; the loss of power is not part of it yet"
    return Measurement(
        value=counted.value,
        samples=counted.samples,
        says=says,
        parts=parts + lost,
        evidence=counted.evidence + [f"evidence/chaos/{part.name}/experiment.json" for part in lost],
    )


def _copies(part: Part, says: str) -> Part:
    """The part of the copies, which names what is wrong and not all that holds."""
    missed = says if part.missed else None
    return msgspec.structs.replace(part, says=says, missed=missed)


def _contents(finding: Finding) -> list[Part]:
    """Of a try that was set aside, only what the stream lacks of its writes, or that it could not be read."""
    hops = [hop for hop in finding.ledger.hops if hop.hop == _STREAM] if finding.ledger else []
    absent = sum(hop.lost or 0 for hop in hops)
    says = f"{finding.name}: {absent:,} acknowledged writes are not in the stream"
    unread = next((f"{finding.name}: the stream could not be read: {hop.problem}" for hop in hops if hop.problem), None)
    if not absent and unread is None:
        return []
    return [
        Part(name=finding.name, value=None, says=says, missed=says if absent else None, missing=unread, certain=True)
    ]


def _node_lost(finding: Finding, gate: Bound) -> Part:
    """One repeat of the experiment: acknowledged writes that the stream lacks are proof, however it went."""
    ledger = finding.ledger
    hops = [hop for hop in ledger.hops if hop.hop == _STREAM] if ledger else []
    acked = ledger.acked if ledger else 0
    missing = missed = None
    if not hops or not acked:
        missing = "no acknowledged write was looked for in the stream"
    else:
        missing = next((f"the stream could not be read: {hop.problem}" for hop in hops if hop.problem), None)
    absent = sum(hop.lost or 0 for hop in hops)
    publishes = [each for each in finding.recoveries if each.operation == _PUBLISH]
    stopped = [each.region for each in publishes if each.state == "censored"]
    blind = not publishes or any(each.state == "no_evidence" for each in publishes)
    if absent:
        missed = f"{finding.name}: {absent:,} of {acked:,} acknowledged writes are not in the stream"
    elif stopped:
        missed = f"{finding.name}: no publish from {', '.join(stopped)} was acknowledged again without the node"
    elif blind:
        missing = missing or "too few probes published around the fault"
    return Part(
        name=finding.name,
        value=None if missing else gate.value,
        samples=acked,
        says=missed or f"{finding.name}: publishes went on, none of {acked:,} acknowledged writes was lost",
        missing=missing and f"{finding.name}: {missing}",
        invalid=f"{finding.name}: {finding.distrust}" if finding.distrust else None,
        missed=missed,
        certain=bool(absent),
        timed=True,
        window=finding.window,
    )

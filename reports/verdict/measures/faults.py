"""Rows that experiments and ledgers are evidence for: recovery time, lost writes, lost and doubled effects."""

from __future__ import annotations

import math
import re

from reports.evidence import Count
from reports.findings.findings import Finding, Findings, Window
from reports.findings.host import percentile
from reports.findings.intervals import bound_without_a_miss
from reports.findings.ledger import STORE, hop_name
from reports.model import Bound, HopResult, LedgerResult
from reports.policy.claims import RowClaim
from reports.verdict.measures.checks import in_words
from reports.verdict.measures.parts import Measurement, Part, nothing

_EXAMPLES = 3
_WRITES = re.compile(r"evidence/(tries/[^/]+/evidence/)?(hops|ledger)/")
"""What the files begin with that hold writes and where they were found, of every try."""
_PROBED_HZ = 20.0
"""The usual rate of probes. A recovery that was probed less often, on a small machine, says so."""


def _chaos_path(finding: Finding, file: str) -> str:
    return f"evidence/chaos/{finding.name}/{file}"


def _absent(findings: Findings) -> list[Part]:
    """A part without a value for each experiment without a result; its reason names all that share it."""
    absent = findings.without_result()
    together = {why: ", ".join(name for name, other in absent if other == why) for _, why in absent}
    return [Part(name=name, value=None, missing=f"{together[why]}: {why}") for name, why in absent]


def _late_prober(finding: Finding, operation: str, share_max: float) -> str | None:
    """Why a recovery of this operation that was slow to the probes may be the prober's own slowness; None if not."""
    record = finding.trial.record
    late = [probe.late_us for probe in finding.trial.probes if probe.at_ns >= (record.fault_ns or record.begin_ns)]
    slo_us = record.slo.get(operation)
    if not late or slo_us is None or (late_us := percentile(late, 99)) <= share_max * slo_us:
        return None
    return (
        f"its probes were late themselves: p99 {late_us / 1000:.1f} ms is over {share_max:.0%} of {slo_us / 1000:g} ms"
    )


def _recovery_part(finding: Finding, gate: Bound, share_max: float) -> Part:
    """`share_max`: how late probes may be, as a share of their operation's SLO, before a miss is no proof."""
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
    invalid = [finding.distrust]
    if result is not None:
        value = result.observed_s if result.slo_stable is None else result.slo_stable
        if result.state == "censored":
            missed = (
                f"{result.operation} from {result.region} was not stable again when the probing ended,"
                f" {result.observed_s:.1f} s after the fault"
            )
        elif record.steady_after is False:
            missed = "the steady state did not hold after healing"
        if result.state == "censored" or not gate.met_by(value):
            invalid.append(_late_prober(finding, result.operation, share_max))
    says = f"{finding.name} {value:.2f} s" if value is not None else finding.name
    if worst is not None and value:
        says += f" ({worst.operation} from {worst.region})"
    if record.probe_hz < _PROBED_HZ:
        says += f" (probed {record.probe_hz:.1f} times a second)"
    return Part(
        name=finding.name,
        value=value,
        samples=0 if value is None else 1,
        says=says,
        missing=missing,
        invalid=f"{finding.name}: {'; '.join(filter(None, invalid))}" if any(invalid) else None,
        missed=missed and f"{finding.name}: {missed}",
        timed=True,
        window=finding.window,
    )


def rto(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The slowest recovery of all experiments, in seconds."""
    share_max = findings.policy.honesty.lag_share_max
    parts = [_recovery_part(finding, gate, share_max) for finding in findings.experiments]
    values = [part.value for part in parts if part.value is not None]
    absent = _absent(findings)
    if not parts and not absent:
        return nothing("no experiment was run")
    states = (result.state for finding in findings.experiments for result in finding.recoveries)
    censored = "censored" in states
    says = ", ".join(part.says for part in sorted(parts, key=lambda part: -(part.value or 0.0)))
    if values:
        bound = bound_without_a_miss(len(values))
        says += (
            f"; range of {len(values)} recoveries: without a miss they bound the rate of slower ones only"
            f" below {bound:.0%} (95%; rule of three)"
        )
    return Measurement(
        value=max(values, default=None),
        claim_value=math.inf if censored else None,
        interval=(min(values), math.inf if censored else max(values)) if values else None,
        samples=len(values),
        says=says,
        parts=parts + absent,
        evidence=[_chaos_path(finding, "probes.jsonl") for finding in findings.experiments],
    )


def _defects(lost: int, doubled: int, hops: list[HopResult], ledger: LedgerResult) -> str:
    """How many writes were lost and doubled, in words: the first hop where they were, and a few by name."""
    defects: list[str] = []
    for count, word, first in ((lost, "lost", ledger.first_lost), (doubled, "doubled", ledger.first_doubled)):
        if count:
            names = {"lost": "lost_examples", "doubled": "duplicated_examples"}[word]
            examples = list(dict.fromkeys(name for hop in hops for name in getattr(hop, names)))[:_EXAMPLES]
            defects.append(f"{count:,} {word}, first at {first}: {', '.join(examples)}")
    return "; ".join(defects)


def _loss_part(finding: Finding) -> Part:
    """Acknowledged writes that are not in PostgreSQL, which is proof however the experiment went."""
    ledger = finding.ledger
    stores = [hop for hop in ledger.hops if hop.hop == STORE] if ledger else []
    missing = None
    if ledger is None or ledger.acked == 0:
        missing = "no acknowledged write is in its ledger"
    elif not stores:
        missing = "its writes were not looked for in PostgreSQL"
    else:
        missing = next((f"PostgreSQL could not be read: {hop.problem}" for hop in stores if hop.problem), None)
    lost = max((hop.lost for hop in stores if hop.lost is not None), default=None)
    says = f"{finding.name} lost {lost or 0:,} of {ledger.acked if ledger else 0:,} acknowledged writes"
    if lost and ledger:
        says += f", the oldest {ledger.lost_seconds or 0:.3f} s before the fault"
        says += f", {ledger.lost_after_fault:,} after it" if ledger.lost_after_fault else ""
        says += "; " + _defects(lost, 0, stores, ledger)
    return Part(
        name=finding.name,
        value=lost,
        samples=ledger.acked if ledger else 0,
        says=says,
        missing=missing and f"{finding.name}: {missing}",
        invalid=f"{finding.name}: {finding.distrust}" if finding.distrust else None,
        missed=says if lost else None,
        certain=True,
        window=finding.window,
    )


def rpo(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """Acknowledged writes that the experiments lost. The claim is judged by the age of the oldest, in seconds."""
    every = findings.with_ledger
    parts = [_loss_part(finding) for finding in every]
    absent = _absent(findings)
    if not parts and not absent:
        return nothing("no experiment was run")
    # Writes that a primary took after it had lost its lease: they are lost when it rejoins.
    forked = [_broken(check) for check in _checks(findings, claim) if check.ok is False]
    parts += forked
    known = [part.value for part in parts if part.value is not None]
    ledgers = [finding.ledger for finding in every if finding.ledger]
    ages = [ledger.lost_seconds for ledger in ledgers if ledger.lost_seconds is not None]
    after = any(ledger.lost_after_fault for ledger in ledgers)
    return Measurement(
        value=sum(known) if known else None,
        # The claim allows the loss of the last writes before the fault, but of none after it.
        claim_value=math.inf if after or forked else max(ages, default=None),
        samples=sum(part.samples for part in parts),
        says=f"none of {sum(part.samples for part in parts):,} acknowledged writes of {len(parts)} experiments is lost"
        + (f", {aside} of them tries that were set aside" if (aside := len(every) - len(findings.experiments)) else ""),
        parts=parts + absent,
        evidence=[
            path
            for finding in findings.experiments
            for path in (_chaos_path(finding, "experiment.json"), f"evidence/ledger/{finding.name}.jsonl")
        ],
    )


def _effect_part(client: str, ledger: LedgerResult | None, distrust: str | None, window: Window | None) -> Part:
    """Lost and doubled effects of a client's writes: those of the consumers; if no hop is a consumer, of every hop."""
    hops = [hop for hop in ledger.hops if hop.effect] or ledger.hops if ledger else []
    missing = None
    if ledger is None or ledger.acked == 0:
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
    says = f"{client}: {ledger.acked if ledger else 0:,} writes, each once at {where}"
    if wrong and ledger:
        says = f"{client}: {_defects(lost, doubled, read, ledger)}"
    return Part(
        name=client,
        value=wrong if read else None,
        samples=ledger.acked if ledger else 0,
        says=says,
        missing=missing and f"{client}: {missing}",
        invalid=f"{client}: {distrust}" if distrust else None,
        missed=says if wrong else None,
        certain=True,
        window=window,
    )


def _checks(findings: Findings, claim: RowClaim) -> list[Count]:
    return findings.counts_of_every_try(claim.row)


def _broken(count: Count) -> Part:
    """A check that does not hold (totals that do not add up) is proof, whatever the ledgers say."""
    return Part(value=max(1.0, count.value), samples=1, missed=in_words(count), certain=True)


def exactly_once(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """Lost and doubled effects of everything that experiments and loads wrote."""
    parts = [
        _effect_part(finding.name, finding.ledger, finding.distrust, finding.window) for finding in findings.with_ledger
    ]
    parts += [_effect_part(name, each, None, None) for name, each in findings.ledgers_aside.items() if each.acked]
    for load in findings.evidence.loads:
        publishes = any(operation.name == "bus.publish_p99" for operation in load.operations)
        if publishes or load.scenario in findings.ledgers:
            ledger = findings.ledgers.get(load.scenario)
            parts.append(_effect_part(load.scenario, ledger, None, (load.begin_ns, load.end_ns)))
    absent = _absent(findings)
    if not parts and not absent:
        return nothing("nothing was written that could be looked for")
    known = [part for part in parts if part.value is not None]
    checks = _checks(findings, claim)
    wrong = [_broken(count) for count in checks if count.ok is False]
    paths = [path for path in findings.evidence.files if _WRITES.match(path)]
    return Measurement(
        value=sum(part.value or 0 for part in [*known, *wrong]) if known or wrong else None,
        samples=sum(part.samples for part in parts),
        says=f"{sum(part.samples for part in known):,} acknowledged writes of {len(known)} ledgers, each there once",
        parts=parts + absent + wrong,
        evidence=paths + (["evidence/facts.jsonl"] if checks else []),
    )

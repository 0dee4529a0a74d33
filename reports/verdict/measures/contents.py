"""The row `ledger.contents`: what was acknowledged says at every hop what it said when it was written."""

from __future__ import annotations

import re

from reports.findings.contents import EVENTS, STATES
from reports.findings.findings import Findings
from reports.findings.ledger import hop_name
from reports.model import Bound, HopResult, LedgerResult
from reports.policy.claims import RowClaim
from reports.verdict.measures.checks import in_words
from reports.verdict.measures.parts import Measurement, Part, nothing

_EXAMPLES = 3
_WRITES = re.compile(r"evidence/(tries/[^/]+/evidence/)?(hops|ledger)/")


def contents(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """Writes that say something else at a hop than when they were sent, that are there though they were refused or
    never sent, or totals that are not the sums. Bulk messages, which are numbered, are not among them."""
    ledgers = {finding.name: finding.ledger for finding in findings.with_ledger if finding.ledger is not None}
    ledgers |= {**findings.ledgers_aside, **findings.ledgers}
    named = {name: ledger for name, ledger in ledgers.items() if not _is_numbered(ledger)}
    checks = findings.counts_of_every_try(claim.row)
    parts = [_part(name, ledger) for name, ledger in named.items()]
    parts += [
        Part(value=max(1.0, count.value), samples=1, missed=in_words(count), certain=True)
        for count in checks
        if count.ok is False
    ]
    if not parts:
        return nothing("no ledger of writes with contents was kept")
    known = [part for part in parts if part.value is not None]
    compared = sum(part.samples for part in known)
    return Measurement(
        value=sum(part.value or 0 for part in known) if known else None,
        samples=compared,
        says=f"{compared:,} acknowledged writes of {len(named)} ledgers say everywhere what was written",
        parts=parts,
        evidence=[path for path in findings.evidence.files if _WRITES.match(path)],
    )


def _is_numbered(ledger: LedgerResult) -> bool:
    """Whether a ledger's writes are numbers, which say nothing by themselves."""
    return ledger.says == 0 and not any(hop.hop in STATES for hop in ledger.hops)


def _part(name: str, ledger: LedgerResult) -> Part:
    hops = [hop for hop in ledger.hops if hop.hop in (*STATES, *EVENTS)]
    read = [hop for hop in hops if hop.problem is None]
    wrong, unexpected = sum(hop.wrong for hop in read), sum(hop.unexpected or 0 for hop in read)
    says = f"{name}: {ledger.says:,} acknowledged writes say what was written at {', '.join(map(hop_name, read))}"
    if wrong or unexpected:
        says = f"{name}: {_defects(read)}"
    return Part(
        name=name,
        value=wrong + unexpected if read else None,
        samples=ledger.says,
        says=says,
        missing=_missing(name, ledger, hops),
        missed=says if wrong or unexpected else None,
        certain=True,
    )


def _missing(name: str, ledger: LedgerResult, hops: list[HopResult]) -> str | None:
    if ledger.says < ledger.acked:
        return f"{name}: of {ledger.acked - ledger.says:,} acknowledged writes was not recorded what they say"
    absent = sorted({*STATES, *EVENTS} - {hop.hop for hop in hops})
    if absent:
        return f"{name}: nothing was looked for at {', '.join(absent)}"
    problems = [f"{hop_name(hop)} could not be read: {hop.problem}" for hop in hops if hop.problem]
    problems += [
        f"{hop_name(hop)} says nothing of {hop.uncompared:,} writes that are there" for hop in hops if hop.uncompared
    ]
    return f"{name}: {'; '.join(problems)}" if problems else None


def _defects(hops: list[HopResult]) -> str:
    found = []
    for hop in hops:
        if hop.wrong:
            found.append(f"{hop.wrong} wrong at {hop_name(hop)} ({'; '.join(hop.wrong_examples[:_EXAMPLES])})")
        if hop.unexpected:
            found.append(
                f"{hop.unexpected} at {hop_name(hop)} that nobody was told were made"
                f" ({'; '.join(hop.unexpected_examples[:_EXAMPLES])})"
            )
    return ", ".join(found)

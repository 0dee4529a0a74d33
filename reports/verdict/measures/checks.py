"""Rows that single checks are evidence for: facts that were counted, browser tests."""

from __future__ import annotations

from reports.evidence import BrowserTest, Count
from reports.findings.browser import distrust
from reports.findings.findings import Findings
from reports.findings.intervals import share_interval
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.parts import Measurement, Part, nothing

_NAMED_MAX = 3
_BELOW = "below"
_SESSION = ["evidence/e2e/session.json", "evidence/e2e/pytest.log"]


def in_words(count: Count) -> str:
    """A fact in words: `count of countries: 195 countries`, or whether the check holds."""
    value = f"{count.value:g} {count.unit}".rstrip()
    if count.ok is None:
        return f"{count.how}: {value}"
    return f"{count.how}: holds" if count.ok else f"{count.how}: does not hold ({value})"


def count(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """A number that was counted, and checks beside it that all have to hold."""
    counts = [count for count in findings.evidence.counts if count.row == claim.row]
    if not counts:
        return nothing("it was not counted")
    numbers = [count for count in counts if count.ok is None]
    broken = [count for count in counts if count.ok is False]
    worst = next((count for count in numbers if not gate.met_by(count.value)), numbers[0] if numbers else None)
    value = None if worst is None else worst.value
    says = "; ".join(in_words(count) for count in counts)
    part = Part(
        value=value,
        samples=len(counts),
        says=says,
        missing=None if numbers else "it was checked, but not counted",
        missed="; ".join(in_words(count) for count in broken) or None,
        certain=bool(broken),
    )
    return Measurement(value=value, samples=len(counts), says=says, parts=[part], evidence=["evidence/facts.jsonl"])


def matrix(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """A matrix of checks; the value is how many of its cells do not hold. A cell whose `ok` is None, in a unit of
    `below ...`, is short of the claim, but the gate allows it."""
    cells = [count for count in findings.evidence.counts if count.row == claim.row]
    if not cells:
        return nothing("no cell was tried")
    wrong = [cell for cell in cells if cell.ok is False]
    short = [cell for cell in cells if cell.ok is None and cell.unit.startswith(_BELOW)]
    unclear = [cell for cell in cells if cell.ok is None and cell not in short]
    says = f"{len(cells)} cells tried, each as expected"
    if short:
        says += f", {len(short)} of them short of the claim: {'; '.join(in_words(cell) for cell in short[:_NAMED_MAX])}"
    if wrong:
        more = f" (and {len(wrong) - _NAMED_MAX} more)" if len(wrong) > _NAMED_MAX else ""
        named = "; ".join(in_words(cell) for cell in wrong[:_NAMED_MAX])
        says = f"{len(wrong)} of {len(cells)} cells wrong: {named}{more}"
    # A cell that is wrong is proof, however few were tried.
    part = Part(
        value=float(len(wrong)), samples=len(cells), says=says, missed=says if wrong else None, certain=bool(wrong),
        missing=f"{len(unclear)} cells do not say whether they hold: {in_words(unclear[0])}" if unclear else None,
    )  # fmt: skip
    return Measurement(
        value=float(len(wrong)),
        claim_value=float(len(wrong) + len(short)),
        samples=len(cells),
        says=says,
        parts=[part],
        evidence=["evidence/facts.jsonl"],
    )


def browser(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """The share of browser tests that passed, in percent; a test that was skipped, or failed as expected, counts for
    neither side."""
    tests = findings.evidence.browser
    invalid, missing = distrust(findings.evidence.browser_session, tests)
    around = [Part(value=None, invalid=invalid, missing=missing)] if invalid or missing else []
    if not tests:
        reason = findings.skipped("e2e", "browser") or "no browser test was run"
        return Measurement(parts=around, evidence=_SESSION) if around else nothing(reason)
    passed = sum(test.outcome == "passed" for test in tests)
    failed = [test for test in tests if test.outcome == "failed"]
    run = passed + len(failed)
    interval = share_interval(passed, run)
    value = 100 * passed / run if run else None
    says = f"{passed} of {run} tests passed, retries off"
    if interval is not None:
        says += f"; at 95% at least {interval[0]:.0%} of such runs would"
    if failed:
        says += f"; failed: {', '.join(test.id for test in failed[:_NAMED_MAX])}"
    if stale := [test for test in tests if test.outcome == "passed" and test.expected_to_fail]:
        says += f"; {len(stale)} passed although expected to fail: {', '.join(test.id for test in stale[:_NAMED_MAX])}"
    part = Part(value=value, samples=run, says=says, missing=None if failed else _not_run(tests))
    return Measurement(
        value=value,
        interval=None if interval is None else (100 * interval[0], 100 * interval[1]),
        samples=run,
        says=says,
        parts=[part, *around],
        took_s=sum(test.duration_s for test in tests),
        evidence=["evidence/e2e/tests.jsonl", *(_SESSION if around else [])],
    )


def _not_run(tests: list[BrowserTest]) -> str | None:
    """Which tests give no evidence: those that were skipped, and those that are known to fail."""
    skipped = [test for test in tests if test.outcome == "skipped" and not test.expected_to_fail]
    known = [test for test in tests if test.outcome == "skipped" and test.expected_to_fail]
    reasons = [f"{len(skipped)} skipped: {skipped[0].detail or skipped[0].id}"] if skipped else []
    if known:
        reasons.append(f"{len(known)} failed as expected, which is no pass: {known[0].id}: {known[0].detail}")
    return "; ".join(reasons) or None

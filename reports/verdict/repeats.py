"""What a report says of phases that were tried more than once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reports.evidence import Tries
from reports.findings.loaded import Evidence
from reports.findings.repeats import WARN_RUNS, WARN_SHARE, is_repeated, of_first_tries
from reports.model import FirstTries, PhaseTries, Report, Row, TryResult, Verdict


def first_tries(
    evidence: Evidence, verdict: Verdict, rows: Iterable[Row], judge: Callable[[Evidence], Report]
) -> FirstTries:  # fmt: skip
    """What the first tries alone would have come to, by judging them; `verdict` and `rows` are those of the run."""
    if not any(map(is_repeated, evidence.tries)):
        return FirstTries(verdict=verdict)
    report, now = judge(of_first_tries(evidence)), {row.id: row.verdict for row in rows}
    return FirstTries(
        verdict=report.verdict, rows={row.id: row.verdict for row in report.slos if row.verdict != now[row.id]}
    )


def tries(evidence: Evidence) -> list[PhaseTries]:
    """The phases of which a try was disturbed from outside, in the order in which they were begun."""
    disturbed = [each for each in evidence.tries if any(attempt.cause for attempt in each.tries)]
    return [_phase(each, evidence) for each in sorted(disturbed, key=lambda each: each.tries[0].begin_ns)]


def _phase(found: Tries, evidence: Evidence) -> PhaseTries:
    return PhaseTries(
        phase=found.phase,
        refused=found.refused,
        tries=[
            TryResult(
                begin_s=(each.begin_ns - evidence.run.started_ns) / 1e9,
                duration_s=(each.end_ns - each.begin_ns) / 1e9,
                cause=each.cause,
                counts=not each.set_aside,
                folder=f"evidence/tries/{found.name}.{number}" if each.set_aside else "",
            )
            for number, each in enumerate(found.tries, 1)
        ],
    )


def words(evidence: Evidence, first: FirstTries) -> list[str]:
    """A line for each phase that was repeated or should have been, for the verdict of the first tries alone, and for a
    machine on which too much is repeated."""
    lines = []
    for phase in tries(evidence):
        for number, each in enumerate(phase.tries, 1):
            if not each.counts:
                lines.append(f"{phase.phase}: try {number} was set aside and repeated, because {each.cause}")
        if phase.refused:
            lines.append(f"{phase.phase}: disturbed and not repeated: {phase.tries[-1].cause}; {phase.refused}")
    if any(map(is_repeated, evidence.tries)):
        differ = ", ".join(f"{row} {verdict}" for row, verdict in first.rows.items())
        says = f"by first tries alone the verdict would have been {first.verdict}"
        lines.append(f"{says} ({differ})" if differ else says)
    return lines + ([warning] if (warning := too_often(evidence)) else [])


def too_often(evidence: Evidence) -> str | None:
    """A warning if more phases were repeated over the last runs than a fit machine needs; None if not."""
    before = evidence.repeated_before
    runs = 1 + (before.runs if before else 0)
    phases = len(evidence.tries) + (before.phases if before else 0)
    repeated = sum(map(is_repeated, evidence.tries)) + (before.repeated if before else 0)
    if repeated <= WARN_SHARE * phases:
        return None
    which = "this run" if runs == 1 else f"the last {runs} runs"
    return (
        f"warning: {repeated} of {phases} phases of {which} were repeated; more than {WARN_SHARE:.0%} over {WARN_RUNS} "
        "runs says that this machine is too busy to be judged on"
    )

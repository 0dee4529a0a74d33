"""`summary.md`: what a pull request's comment has room for."""

from __future__ import annotations

import re

from reports import words
from reports.model import ExperimentResult, Report

_WHY_MAX = 200


def _cell(text: str) -> str:
    """Text that is shown as it is: it makes no markup, link, picture or mention of a user, and stays on its line."""
    text = re.sub(r"[\\`*\[\]|]", r"\\\g<0>", " ".join(words.printable(text).splitlines()))
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"(?<!\w)@(?=\w)", "@\u200b", text)


def _table(head: list[str], lines: list[list[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *lines]
    return ["| " + " | ".join(line) + " |" for line in rows]


def _experiment(experiment: ExperimentResult) -> list[str]:
    clocks, loss = experiment.rto_s, experiment.rpo
    seconds = [words.number(value) for value in (clocks.detected, clocks.first_success, clocks.slo_stable)]
    counts = "–" if loss is None else f"{loss.acked:,} / {words.number(loss.lost)} / {loss.unknown:,}"
    proven = "yes" if experiment.fault_proven else "no"
    healed = "yes" if experiment.healed else "no"
    budget = words.number(experiment.budget_s)
    named = [experiment.id, experiment.verdict, proven, healed]
    return [_cell(text) for text in (*named, *seconds, words.number(clocks.redundancy), counts, budget)]


def to_markdown(report: Report) -> str:
    """The headline, the judged rows worst first, the experiments, and the notes."""
    lines = [f"**{_cell(words.headline(report))}**", ""]
    lines += [f"- {_cell(words.shortened(note, _WHY_MAX))}" for note in report.notes]
    lines += [f"- {row}: {_cell(why)}" for row, why in report.waived.items()]
    lines += [f"- {words.SYMBOLS[knee.verdict]} {_cell(words.shortened(knee.says, _WHY_MAX))}" for knee in report.knees]
    rows = [
        [
            f"{words.SYMBOLS[row.verdict]} {row.verdict}",
            f"`{row.id}`",
            *(
                _cell(text)
                for text in (
                    words.measured(row),
                    words.bound(row.gate),
                    words.interval(row),
                    f"{row.samples:,}",
                    row.claim.verdict,
                    words.shortened(row.why, _WHY_MAX),
                )
            ),
        ]
        for row in words.judged(report)
    ]
    lines += ["", *_table(["verdict", "row", "measured", "gate", "95%", "samples", "claim", "why"], rows)]
    if report.experiments:
        head = ["experiment", "verdict", "proven", "healed", "detected s", "first success s", "stable s"]
        head += ["redundancy s", "acked / lost / unknown", "budget s"]
        lines += ["", *_table(head, [_experiment(experiment) for experiment in report.experiments])]
    if report.alarms or report.left_out:
        lines.append("")
    lines += [f"- planted bug {_cell(words.shortened(alarm, _WHY_MAX))}" for alarm in report.alarms]
    lines += [f"- {_cell(words.shortened(left, _WHY_MAX))}" for left in words.left_out(report)]
    facts = [f"run {report.run_id}", f"profile {report.profile}", f"commit {report.fingerprint.commit[:12]}"]
    if report.fingerprint.commit_unknown:
        facts[-1] += f" ({report.fingerprint.commit_unknown})"
    facts += [f"{report.fingerprint.cores} cores", report.durability, report.security]
    lines += ["", _cell("; ".join(filter(None, facts))), ""]
    return "\n".join(lines)

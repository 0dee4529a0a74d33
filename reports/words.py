"""How numbers and verdicts are written, the same in every document.

A number is never rounded onto the bound that it is compared with: 99.97 ms beside a gate of 100 ms is not
printed as 100 ms.
"""

from __future__ import annotations

import math
import re

from reports.model import WORST_FIRST, Bound, Claim, Report, Row, Verdict

SYMBOLS: dict[Verdict, str] = {"PASS": "✓", "FAIL": "✕", "INVALID": "!", "INCONCLUSIVE": "?", "NOT_JUDGED": "–"}
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Characters that XML forbids, that steer a terminal, that reverse what is read, or that UTF-8 cannot hold."""
_MISSED = {"<": "≥", "<=": ">", ">": "≤", ">=": "<", "==": "≠"}
_REASON_MAX = 160


def number(value: float | None, beside: float | None = None) -> str:
    """The value with three significant digits; with more, where three would print it as `beside`. None is `–`."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    text = ""
    for digits in range(3, 18):  # 17 digits distinguish any two floats
        text = f"{value:.{digits}g}"
        short = abs(value) >= 10**digits  # fewer digits than the whole part has
        if not short and (beside is None or float(text) != beside) and (value < 99 or float(text) != 100):
            break
    if abs(value) >= 1000:
        return f"{float(text):,}".removesuffix(".0")
    return f"{float(text):.6f}".rstrip("0") if "e" in text else text


def amount(value: float | None, unit: str | None, beside: float | None = None) -> str:
    """A number with its unit: `99.99%`, `12.4 ms`; a ratio has no unit."""
    if value is None:
        return "–"
    return number(value, beside) + ("" if unit in (None, "", "ratio") else "%" if unit == "%" else f" {unit}")


_PRINTED_UNITS = ("ms", "s", "%", "MB", "USD", "msg/s", "events/s")
"""Units that are printed beside a bound, too; others are printed beside the measured value alone."""
_SIGNS = {"<=": "≤", ">=": "≥", "==": "="}


def bound(gate: Bound | Claim | None) -> str:
    """`< 100 ms`, `= 195`."""
    if gate is None or gate.op is None:
        return "–"
    return f"{_SIGNS.get(gate.op, gate.op)} {amount(gate.value, gate.unit if gate.unit in _PRINTED_UNITS else None)}"


def _is_censored(row: Row) -> bool:
    """Whether a recovery had not ended when probing did: its range then has no upper end."""
    return row.unit == "s" and row.interval is not None and row.interval[1] == math.inf


def measured(row: Row) -> str:
    """The measured value; a p99 that falls among operations that failed has none."""
    if row.measured is not None and math.isinf(row.measured):
        return "> 1% failed" if row.unit == "ms" else "∞"
    if _is_censored(row):
        return f"≥ {amount(row.measured, row.unit)}"
    return amount(row.measured, row.unit, row.gate.value if row.gate else None)


def interval(row: Row) -> str:
    """`11.8 – 12.9`, in the row's unit."""
    if row.interval is None:
        return "–"
    low, high = row.interval
    beside = row.gate.value if row.gate else None
    return f"{number(low, beside)} – {number(high, beside)}"


def ceiling(row: Row) -> str:
    """`86,400 msg/s, 94% of it measured`: what the machine was calibrated to give."""
    if row.ceiling is None:
        return "–"
    return f"{amount(row.ceiling.value, row.unit)}, {row.ceiling.ratio:.0%} of it measured"


def margin(row: Row) -> float | None:
    """The share of the target that is left: 0.4 for 60 ms of 100 ms, negative for a miss. For a percentage such as
    99.99% it is the share of the budget below 100%.

    A target without degrees (no lost write, 195 countries) gives None if it is met, -inf if not; so does a recovery
    that did not end. None if nothing was measured.
    """
    if row.measured is None or row.gate is None:
        return None
    gate, value = row.gate, row.measured
    if _is_censored(row):
        return -math.inf
    if gate.op == "==" or gate.value == 0 or (gate.op == ">=" and gate.unit == "%" and gate.value == 100):
        return None if gate.met_by(value) else -math.inf
    if gate.op in ("<", "<="):
        return (gate.value - value) / gate.value
    if gate.unit == "%" and gate.value < 100:
        return (value - gate.value) / (100 - gate.value)
    return (value - gate.value) / gate.value


def worst_first(rows: list[Row]) -> list[Row]:
    """By verdict, then by margin; equal rows keep their order."""

    def key(row: Row) -> tuple[int, float]:
        left = margin(row)
        return (WORST_FIRST.index(row.verdict), math.inf if left is None else left)

    return sorted(rows, key=key)


def judged(report: Report) -> list[Row]:
    """The rows that count, worst first."""
    return worst_first([row for row in report.slos if row.verdict != "NOT_JUDGED"])


def not_judged(report: Report) -> list[Row]:
    return [row for row in report.slos if row.verdict == "NOT_JUDGED"]


def printable(text: str) -> str:
    """The text with each unprintable character written out (`\\x1b`), so that every document can hold it."""
    return _UNPRINTABLE.sub(lambda found: _written_out(ord(found[0])), text)


def _written_out(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shortened(text: str, length: int = _REASON_MAX) -> str:
    """The text, cut at a word with `…` where it is longer."""
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def left_out(report: Report) -> list[str]:
    """What did not run tonight, a line each; first what was not seen for this release."""
    return [
        f"not run tonight: {left.kind} {left.name} ({left.why}); {left.says}"
        for left in sorted(report.left_out, key=lambda left: left.seen)
    ]


def impossible(report: Report, row: Row) -> bool:
    """Whether the preflight says that the row's claim cannot be met."""
    return row.id in report.possible and report.possible[row.id].verdict == "impossible"


def _missed(row: Row) -> str:
    """`api.read_p99.syd 112 ms > 100 ms`, or the row and why."""
    gate, value = row.gate, row.measured
    if row.verdict != "FAIL" or gate is None or value is None or math.isinf(value) or gate.met_by(value):
        return f"{row.id}: {shortened(row.why)}"
    sign = ">" if gate.op == "<" and value > gate.value else _MISSED[gate.op]
    return f"{row.id} {measured(row)} {sign} {bound(gate).partition(' ')[2]}"


def headline(report: Report) -> str:
    """The verdict in one sentence, with its first reason."""
    counting = [row for row in judged(report) if row.id not in report.waived]
    passed = sum(row.verdict == "PASS" for row in counting)
    total, waived = len(counting) + len(report.waived), len(report.waived)
    planted = f" (planted bug: {report.planted_bug})" if report.planted_bug else ""
    aside = f", {waived} waived" if waived else ""
    if report.verdict == "PASS":
        return f"GO: {passed} of {total} judged gates pass{aside}{planted}"
    worst = [row for row in counting if row.verdict == report.verdict]
    more = f" and {len(worst) - 1} more" if len(worst) > 1 else ""
    passing = f"; {passed} of {total} pass{aside}"
    unfinished = shortened(report.notes[0]) if report.state != "finished" and report.notes else ""
    searched = next((shortened(knee.says) for knee in report.knees if knee.verdict == report.verdict), "")
    if report.verdict == "FAIL":
        ended = f"; {unfinished}" if unfinished else ""
        return f"NO-GO: {_missed(worst[0]) if worst else searched}{more}{passing}{ended}{planted}"
    if report.verdict == "INCONCLUSIVE" and unfinished:
        reason = unfinished
    elif worst:
        reason = f"{shortened(worst[0].why)} ({worst[0].id}{more})"
    elif searched:
        reason = searched
    else:
        damaged = [note for note in report.notes if note.startswith(("damaged", "evidence is not", "recorded with"))]
        reason = shortened(next(iter([*damaged, *report.failed_phases]), "no row is judged"))
    return f"NO VERDICT ({report.verdict}): {reason}{passing}{planted}"

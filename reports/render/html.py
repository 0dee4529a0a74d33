"""`report.html`: one file that opens from disk with the network off and asks it for nothing.

The first screen is for the thirty seconds in which someone decides: the verdict in one sentence, what was run,
and the rows, worst first. The second is for the thirty minutes after: one timeline, the curves, each recovery,
each hop of the ledger, and links to the evidence. No scripts; pictures are inline; the colours follow the
reader's light or dark setting, and no meaning rests on colour alone.
"""

from __future__ import annotations

import math
from pathlib import Path

import jinja2
from markupsafe import Markup

from reports import words
from reports.findings.ledger import hop_name
from reports.findings.loaded import Evidence
from reports.model import Report, Row
from reports.render import charts, knees

LIMIT_BYTES = 3_000_000
_WHY_MAX = {"PASS": 90, "FAIL": 150, "INVALID": 150, "INCONCLUSIVE": 150}
"""Characters of a row's reason on the first screen; the whole stands further down."""
_PATHS_MAX = 12
_USED_MAX = 1.3
"""How far over its target a row's bar still grows."""


class ReportTooLarge(Exception):
    """The page would be larger than a report may be."""


def _used(row: Row) -> float | None:
    """The share of the target that is used up, for the bar: 1.0 is the target, cut at 1.3."""
    left = words.margin(row)
    return None if left is None or math.isinf(left) else max(0.0, min(_USED_MAX, 1 - left)) / _USED_MAX


def _left(row: Row) -> str:
    """What is left of the target, in words."""
    left = words.margin(row)
    if row.measured is None or row.gate is None:
        return "–"
    if left is None or math.isinf(left):
        return "missed" if left else "met"
    if left < -1:
        return f"{words.number(float(f'{1 - left:.2g}'))}× " + (
            "the target" if row.gate.op in ("<", "<=") else "the budget"
        )
    if left < 0:
        return f"{-left:.0%} over" if row.gate.op in ("<", "<=") else f"{-left:.0%} short"
    return f"{left:.0%} left"


def _length(seconds: float | None) -> str:
    """`4 min 15 s`."""
    if seconds is None:
        return "not ended"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s"]
    return " ".join(part for part in parts if part)


def _counts(report: Report) -> list[tuple[str, int]]:
    verdicts = [row.verdict for row in report.slos]
    return [(verdict, verdicts.count(verdict)) for verdict in words.SYMBOLS if verdict in verdicts]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": words, "used": _used, "left": _left, "length": _length, "hop_name": hop_name}
    environment.globals |= {"why_max": _WHY_MAX, "paths_max": _PATHS_MAX}
    return environment


def to_html(report: Report, evidence: Evidence) -> str:
    """The page. ReportTooLarge if it would pass 3 MB."""
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            evidence=evidence,
            counts=_counts(report),
            timeline=Markup(charts.timeline(evidence, report)),
            curves=Markup(charts.curves(evidence, report)),
            host=Markup(charts.host(evidence)),
            knees=[(found, Markup(knees.picture(found.knee))) for found in report.knees],
        )
    )
    size = len(page.encode())
    if size > LIMIT_BYTES:
        raise ReportTooLarge(
            f"report.html would have {size:,} bytes, the limit is {LIMIT_BYTES:,}: the run has more evidence than a"
            " page can show; read report.json and evidence/ instead"
        )
    return page

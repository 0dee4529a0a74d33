"""`report.html`: one file that opens from disk with the network off and asks it for nothing.

The first screen answers in thirty seconds: the verdict in one sentence, what was run, and the rows, worst first. The
rest is for the thirty minutes after: one timeline, the curves, each recovery, each hop of the ledger, and links to the
evidence. The page has no scripts, and its pictures are inline. Colours follow the reader's light or dark setting, and
no meaning rests on colour alone.
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
"""How many characters of a row's reason the first screen shows; the full text is further down."""
_PATHS_MAX = 12
_USED_MAX = 1.3
"""The share of its target at which a row's bar is full."""


class ReportTooLarge(Exception):
    """The page would be larger than a report may be."""


def _used(row: Row) -> float | None:
    """How full a row's bar is (0 to 1): the used share of the target, of at most 1.3; None without degrees."""
    left = words.margin(row)
    return None if left is None or math.isinf(left) else max(0.0, min(_USED_MAX, 1 - left)) / _USED_MAX


def _left(row: Row) -> str:
    """The margin to the target in words: `12% left`, `5% over`, `met`."""
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


def _printable(value: object) -> object:
    """What is put into the page, with control characters written out; pictures are markup and have done so."""
    return words.printable(value) if type(value) is str else value


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": words, "used": _used, "left": _left, "length": _length, "hop_name": hop_name}
    environment.globals |= {"why_max": _WHY_MAX, "paths_max": _PATHS_MAX}
    return environment


def to_html(report: Report, evidence: Evidence) -> str:
    """The page. ReportTooLarge if it would be over 3 MB."""
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

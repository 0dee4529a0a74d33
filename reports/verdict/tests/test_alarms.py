"""harness.alarms: 100% of the planted bugs caught, and no false alarm."""

from __future__ import annotations

import pytest

from reports.evidence import LeftOut, PlantedBug
from reports.findings.loaded import Evidence
from reports.model import Report, Row
from reports.render.html import to_html
from reports.render.markdown import to_markdown
from reports.render.text import to_text
from reports.tests.spoilt_run import report_of
from reports.tests.synthetic_run import Story, run_record


def _bug(name: str, rows: dict[str, str], red: tuple[str, ...] = ("bus.exactly_once",)) -> PlantedBug:
    return PlantedBug(
        name=name, red=list(red), may=[], folder=f"planted/{name}", begin_ns=1, end_ns=2, rows=rows,
        whys={row: "the machine was disturbed" for row, verdict in rows.items() if verdict == "INVALID"},
    )  # fmt: skip


CAUGHT = _bug("no-guard", {"bus.exactly_once": "FAIL", "recovery.rto": "PASS"})
MISSED = _bug("late-ack", {"bus.exactly_once": "PASS", "recovery.rto": "PASS"})
UNSURE = _bug("stall", {"bus.exactly_once": "INVALID"})
FALSE = _bug("no-id", {"recovery.rpo_loss": "FAIL"}, red=())
HARMLESS = _bug("no-id", {"recovery.rpo_loss": "PASS"}, red=())


def _report(*bugs: PlantedBug, left: tuple[LeftOut, ...] = ()) -> Report:
    run = run_record(Story(profile="nightly"))
    return report_of(Evidence(run=run, planted=list(bugs), left_out=list(left)))


def _row(report: Report) -> Row:
    return next(row for row in report.slos if row.id == "harness.alarms")


@pytest.mark.parametrize(
    ("bugs", "verdict", "measured", "why"),
    [
        ([CAUGHT, HARMLESS], "PASS", 100, "1 of 1 planted bugs caught, 0 false alarms"),
        ([CAUGHT, MISSED], "FAIL", 50, "late-ack: bus.exactly_once stayed green"),
        ([CAUGHT, FALSE], "FAIL", 100, "false alarm: recovery.rpo_loss"),
        ([CAUGHT, UNSURE], "INCONCLUSIVE", 100, "the machine was disturbed"),
        ([MISSED, UNSURE], "FAIL", 0, "stayed green"),
        ([HARMLESS], "INCONCLUSIVE", None, "no planted bug that has to turn a row red was run"),
        ([], "INCONCLUSIVE", None, "no planted bug was run"),
    ],
)
def test_all_that_ran_have_to_be_caught(
    bugs: list[PlantedBug], verdict: str, measured: float | None, why: str
) -> None:  # fmt: skip
    row = _row(_report(*bugs))
    assert (row.verdict, row.measured) == (verdict, measured)
    assert why in row.why


def test_they_are_counted_in_report_json() -> None:
    planted = _report(CAUGHT, MISSED, FALSE, UNSURE).planted
    assert (planted.caught, planted.missed, planted.false_alarms) == (1, 1, 1)


def test_every_document_names_bugs_and_what_had_no_turn() -> None:
    left = LeftOut(kind="suite", name="test_offline.py", why="its turn is another night")
    report = _report(CAUGHT, left=(left,))
    page = to_html(report, Evidence(run=run_record(Story(profile="nightly"))))
    assert "<li>caught: no-guard: bus.exactly_once went red</li>" in page
    assert "suite test_offline.py</td>" in page
    for document in (to_text(report, width=400), to_markdown(report)):
        assert "planted bug caught: no-guard: bus.exactly_once went red" in document
        assert "not run tonight: suite test_offline.py (its turn is another night); no run is known" in document

"""What `report show` prints: the verdict first, then the judged rows, worst first, then the recoveries."""

from __future__ import annotations

from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports import words
from reports.model import Report, Verdict

_STYLES: dict[Verdict, str] = {
    "PASS": "green",
    "FAIL": "bold red",
    "INVALID": "bold magenta",
    "INCONCLUSIVE": "bold yellow",
    "NOT_JUDGED": "dim",
}
_WIDTH = 120
_WHY_MAX = 300


def _text(text: str, style: str = "") -> Text:
    """Text that is printed as it is: it neither steers the terminal nor is read as rich's markup."""
    return Text(words.printable(text), style=style)


def _verdict(verdict: Verdict) -> Text:
    return Text(f"{words.SYMBOLS[verdict]} {verdict}", style=_STYLES[verdict])


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return table


def _rows(report: Report) -> Table:
    table = _table("verdict", "row", ">measured", ">gate", ">95%", ">samples", "claim")
    for row in words.judged(report):
        verdict = _verdict(row.verdict)
        if row.id in report.waived:
            verdict.append(" (waived)", style="dim")
        claim = "–" if row.claim.value is None else f"{words.SYMBOLS[row.claim.verdict]} {words.bound(row.claim)}"
        cells = [row.id, words.measured(row), words.bound(row.gate), words.interval(row), f"{row.samples:,}", claim]
        table.add_row(verdict, *(_text(cell) for cell in cells))
    return table


def _whys(report: Report) -> list[Text]:
    """Why each row did not pass. It is printed below the table, which has no room for it."""
    reasons = [(row, report.waived.get(row.id) or row.why) for row in words.judged(report) if row.verdict != "PASS"]
    return [
        Text.assemble((row.id, _STYLES[row.verdict]), f": {words.printable(words.shortened(why, _WHY_MAX))}")
        for row, why in reasons
    ]


def _joined(*values: float | None) -> str:
    return " / ".join(words.number(value) for value in values)


def _experiments(report: Report) -> Table:
    table = _table("experiment", "verdict", "proven", "healed", ">detected / success / stable / redundancy, s")
    for column in ("acked / lost / doubled / unknown", "budget s"):
        table.add_column(column, justify="right")
    for experiment in report.experiments:
        clocks, loss = experiment.rto_s, experiment.rpo
        table.add_row(
            _text(experiment.id),
            _verdict(experiment.verdict),
            "yes" if experiment.fault_proven else "no",
            "yes" if experiment.healed else "no",
            _joined(clocks.detected, clocks.first_success, clocks.slo_stable, clocks.redundancy),
            _joined(loss.acked, loss.lost, loss.duplicated, loss.unknown) if loss else "no ledger",
            words.number(experiment.budget_s),
        )
    return table


def to_text(report: Report, *, width: int = _WIDTH, colour: bool = False) -> str:
    """The report for a terminal that is `width` characters wide."""
    file = StringIO()
    console = Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(_text(words.headline(report), style=_STYLES[report.verdict]))
    facts = f"run {report.run_id}  ·  profile {report.profile}  ·  seed {report.seed}"
    console.print(_text(facts, style="dim"))
    for note in report.notes:
        console.print(_text(f"! {note}"))
    for knee in report.knees:
        console.print(
            Text.assemble((words.SYMBOLS[knee.verdict], _STYLES[knee.verdict]), f" {words.printable(knee.says)}")
        )
    console.print(_rows(report))
    for why in _whys(report):
        console.print(why)
    if report.experiments:
        console.print(_experiments(report))
    for alarm in report.alarms:
        console.print(Text(f"planted bug {alarm}"))
    for absent in words.left_out(report):
        console.print(Text(absent))
    left = len(words.not_judged(report))
    console.print(Text(f"{left} rows are not judged by this profile or not built yet; report.html lists them"))
    return file.getvalue()

"""What `report show` prints: the verdict first, then the judged rows, worst first, then the recoveries."""

from __future__ import annotations

from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.model import Report, Verdict
from reports.render import words

_STYLES: dict[Verdict, str] = {
    "PASS": "green",
    "FAIL": "bold red",
    "INVALID": "bold magenta",
    "INCONCLUSIVE": "bold yellow",
    "NOT_JUDGED": "dim",
}
_WIDTH = 120
_WHY_MAX = 300


def _verdict(verdict: Verdict) -> Text:
    return Text(f"{words.SYMBOLS[verdict]} {verdict}", style=_STYLES[verdict])


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return table


def _rows(report: Report) -> Table:
    table = _table("verdict", "row", ">measured", ">gate", ">95%", ">samples", "why")
    for row in words.judged(report):
        why = report.waived.get(row.id) or ("" if row.verdict == "PASS" else words.shortened(row.why, _WHY_MAX))
        cells = [row.id, words.measured(row), words.bound(row.gate), words.interval(row), f"{row.samples:,}", why]
        table.add_row(_verdict(row.verdict), *(Text(cell) for cell in cells))
    return table


def _experiments(report: Report) -> Table:
    table = _table("experiment", "verdict", "proven", "healed", ">detected", ">success", ">stable", ">redundancy")
    for column in ("acked", "lost", "doubled", "unknown", "budget s"):
        table.add_column(column, justify="right")
    for experiment in report.experiments:
        clocks, loss = experiment.rto_s, experiment.rpo
        times = (clocks.detected, clocks.first_success, clocks.slo_stable, clocks.redundancy)
        counts = (loss.acked, loss.lost, loss.duplicated, loss.unknown) if loss else (None,) * 4
        table.add_row(
            experiment.id,
            _verdict(experiment.verdict),
            "yes" if experiment.fault_proven else "no",
            "yes" if experiment.healed else "no",
            *(words.amount(value, "s") for value in times),
            *(words.number(value) for value in (*counts, experiment.budget_s)),
        )
    return table


def to_text(report: Report, *, width: int = _WIDTH, colour: bool = False) -> str:
    """The report for a terminal that is `width` characters wide."""
    file = StringIO()
    console = Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(Text(words.headline(report), style=_STYLES[report.verdict]))
    facts = f"run {report.run_id}  ·  profile {report.profile}  ·  seed {report.seed}"
    console.print(Text(facts, style="dim"))
    for note in report.notes:
        console.print(Text(f"! {note}"))
    console.print(_rows(report))
    if report.experiments:
        console.print(_experiments(report))
    left = len(words.not_judged(report))
    console.print(Text(f"{left} rows are not judged by this profile or not built yet; report.html lists them"))
    return file.getvalue()

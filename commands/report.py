"""The commands of `./covenant report`."""

from __future__ import annotations

import sys

import click

import reports
from commands.exit_codes import EXIT_USAGE, fail
from infra.machine.checkout import RUNS
from reports.evidence.folder import EvidenceError, find_run


@click.group()
def report() -> None:
    """Read the reports."""


@report.command("show")
@click.argument("run", required=False)
def report_show(run: str | None) -> None:
    """Compute a run's verdict again from its evidence; RUN is an id or a folder, default the newest.

    \b
    Example:  ./covenant report show
    """
    try:
        result = reports.assess(find_run(RUNS, run))
    except EvidenceError as error:
        fail(EXIT_USAGE, str(error))
    click.echo(reports.to_text(result))
    sys.exit(reports.exit_code(result))

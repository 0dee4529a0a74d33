"""`./covenant e2e`: the browser suites."""

from __future__ import annotations

import click

from commands.exit_codes import EXIT_USAGE, fail
from commands.run import steps
from commands.run.programme import BROWSER
from e2e import runner
from e2e.browser import ENGINES

no_install = click.option("--no-install", is_flag=True, help="Do not install a browser where there is none.")
"""The option of every command that starts a browser."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--browser", "engines", type=click.Choice(ENGINES), multiple=True, default=["chromium"], show_default=True,
    help="The engine; several can be given. Firefox and WebKit are Playwright's own builds.",
)  # fmt: skip
@no_install
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def e2e(engines: tuple[str, ...], no_install: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Run the browser suites and report; further options are pytest's.

    \b
    Example:  ./covenant e2e -k region
              ./covenant e2e --browser firefox
    """
    if wrong := runner.wrong_usage(pytest_arguments):
        fail(EXIT_USAGE, wrong)
    found = steps.find_browsers(not no_install, engines)
    with steps.session("e2e", phases=[BROWSER]) as run:
        run.start()
        steps.browse(run, found, pytest_arguments)

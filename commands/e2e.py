"""`./covenant e2e`: the browser suites."""

from __future__ import annotations

import click

from commands.run import steps


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--install-browser", is_flag=True, help="Install Chromium with apt if there is no browser (root).")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def e2e(install_browser: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Run the browser suites and report.

    \b
    Example:  ./covenant e2e -k region
    """
    browser = steps.find_browser(install_browser)
    with steps.session("e2e") as run:
        run.start()
        steps.browse(run, browser, pytest_arguments)

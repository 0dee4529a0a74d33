"""`./covenant test`: the project's own tests."""

from __future__ import annotations

import secrets
import sys

import click

from commands import checked
from commands.e2e import no_install
from commands.exit_codes import EXIT_NOT_STARTED, fail
from commands.run import steps, systems
from e2e import browser as browsers
from infra import target
from infra.fabric.protocol import StartError
from infra.machine.checkout import CHECKOUT
from infra.machine.progress import say, step


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--full", is_flag=True, help="The slow acceptance tests, too: up to two hours.")
@click.option("--static", "only_static", is_flag=True, help="Only what starts nothing: no test, no system.")
@no_install
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(full: bool, only_static: bool, no_install: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Check style, types, import rules and declarations, then run every test on a system of its own.

    With pytest arguments only pytest runs, with these.

    \b
    Example:  ./covenant test
              ./covenant test --static
              ./covenant test -k ledger
    """
    if only_static and (full or pytest_arguments):
        raise click.UsageError("--static runs no test: leave out --full and the arguments of pytest")
    failed = [] if pytest_arguments else checked.static(CHECKOUT)
    if only_static:
        for name in failed:
            click.echo(f"failed: {name}")
        sys.exit(1 if failed else 0)
    slow = "" if full else " and not full"
    found = steps.find_browsers(not no_install)
    tally = checked.pytest(CHECKOUT, ["-n", "2", "-m", f"not ({checked.SHARED}){slow}", *pytest_arguments], {})
    name = f"test-{secrets.token_hex(3)}"
    system = systems.create_system(name)
    try:
        with step("system") as progress:
            system.start(progress)
        environment = {target.VARIABLE: str(system.target_path)}
        if isinstance(found, str):
            say(f"browser tests: skipped: {found}")
            marks = "running and not browser"
        else:
            environment[browsers.VARIABLE] = found[0].executable or ""
            marks = checked.SHARED
        tally += checked.pytest(CHECKOUT, ["-m", f"({marks}){slow}", *pytest_arguments], environment)
    except StartError as error:
        fail(EXIT_NOT_STARTED, str(error))
    finally:
        system.stop()
        system.remove()
    for name in failed:
        click.echo(f"failed: {name}")
    click.echo(str(tally))
    sys.exit(1 if failed or tally.failed or tally.broken or not tally.passed else 0)

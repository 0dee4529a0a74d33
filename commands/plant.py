"""`./covenant plant`: a command against a system with a planted bug."""

from __future__ import annotations

import click

from chaos import plants
from commands.chaos import chaos_run
from commands.exit_codes import EXIT_USAGE, fail
from commands.load import load_run
from commands.run import steps


@click.command()
@click.argument("bug")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def plant(bug: str, command: tuple[str, ...]) -> None:
    """Run a command against a system with a planted bug; `plant list` lists the bugs.

    Without a command, the bug's own cheapest one that catches it. The exit code is the command's.

    \b
    Example:  ./covenant plant api-stall-120ms
              ./covenant plant analytics-no-guard -- chaos run analytics-kill
    """
    if bug == "list":
        click.echo("\n".join(map(str, plants.PLANTS.values())))
        return
    if bug not in plants.PLANTS:
        fail(EXIT_USAGE, f"no planted bug is called {bug!r}; there are: {', '.join(plants.PLANTS)}")
    words = list(command) or list(plants.PLANTS[bug].command)
    match words[:2]:
        case ["load", "run"]:
            steps.run_load(plant=bug, **load_run.make_context("load run", words[2:]).params)
        case ["chaos", "run"]:
            options = chaos_run.make_context("chaos run", words[2:]).params
            steps.check_experiments(options["experiment"])
            steps.run_chaos(options["experiment"], repeat=options["repeat"], out=options["out"], plant=bug)
        case _:
            fail(EXIT_USAGE, f"plant takes `load run ...` or `chaos run ...`, found: {' '.join(words)}")

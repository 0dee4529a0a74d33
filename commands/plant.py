"""`./covenant plant`: a command against a system with a planted bug."""

from __future__ import annotations

import click

from chaos import plants
from commands.chaos import chaos_run
from commands.exit_codes import EXIT_USAGE, fail
from commands.load import load_run

_PLANTED: dict[str, click.Command] = {"load run": load_run, "chaos run": chaos_run}
"""The commands that can run against a planted bug, which they read from their click context."""


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
    name = " ".join(words[:2])
    if name not in _PLANTED:
        fail(EXIT_USAGE, f"plant takes `load run ...` or `chaos run ...`, found: {' '.join(words)}")
    planted = _PLANTED[name]
    planted.invoke(planted.make_context(name, words[2:], obj=bug))

"""The commands of `./covenant chaos`."""

from __future__ import annotations

from pathlib import Path

import click

from chaos import healing
from chaos.run import catalog
from commands.run import steps
from commands.run.systems import running
from infra.machine.progress import say


@click.group()
def chaos() -> None:
    """Break the system, measure how it comes back."""


@chaos.command("list")
def chaos_list() -> None:
    """One experiment a line."""
    for experiment in catalog.experiments():
        click.echo(f"{experiment.id:<18} {experiment.title}")
    for problem in catalog.problems():
        say(f"not listed: {problem}")


@chaos.command("plan")
@click.argument("experiment", metavar="EXPERIMENT|FILE")
def chaos_plan(experiment: str) -> None:
    """Say what an experiment will do, before it does it.

    \b
    Examples:  ./covenant chaos plan pg-primary-kill
               ./covenant chaos plan my-experiment.json
    """
    steps.check_experiments([experiment])
    click.echo(catalog.plan(experiment))


@chaos.command("run")
@click.argument("experiment", metavar="EXPERIMENT|FILE...", nargs=-1, required=True)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--dry", is_flag=True, help="Only say what would be done.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
@click.pass_obj
def chaos_run(plant: str | None, experiment: tuple[str, ...], repeat: int, dry: bool, out: Path | None) -> None:
    """Run experiments and report their recovery clocks and lost writes.

    A file is a Chaos Toolkit experiment of your own (JSON or YAML); it runs in the current folder. Recovery is measured
    from the beginning of its first action, by the same probes as for ours. Without a step that proves the fault (a
    probe of chaos.faults) its recovery is shown and its rows are INVALID: nothing says that the fault has bitten.

    \b
    Examples:  ./covenant chaos run pg-primary-kill bus-leader-kill
               ./covenant chaos run my-experiment.json
    """
    if dry:
        steps.check_experiments(experiment)
        click.echo("\n\n".join(catalog.plan(name) for name in experiment))
        return
    steps.run_chaos(experiment, repeat=repeat, out=out, plant=plant)


@chaos.command("heal")
def chaos_heal() -> None:
    """Undo every fault that is still open in the running system."""
    healed = healing.heal(running())
    click.echo("\n".join(healed) if healed else "no fault is open")

"""The commands of `./covenant chaos`."""

from __future__ import annotations

from pathlib import Path

import click

from chaos import healing
from chaos.run import catalog
from commands.run import steps
from commands.run.systems import running


@click.group()
def chaos() -> None:
    """Break the system, measure how it comes back."""


@chaos.command("list")
def chaos_list() -> None:
    """One experiment a line."""
    for experiment in catalog.experiments():
        click.echo(f"{experiment.id:<18} {experiment.title}")


@chaos.command("plan")
@click.argument("experiment")
def chaos_plan(experiment: str) -> None:
    """Say what an experiment will do, before it does it."""
    steps.check_experiments([experiment])
    click.echo(catalog.plan(experiment))


@chaos.command("run")
@click.argument("experiment", nargs=-1, required=True)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--dry", is_flag=True, help="Only say what would be done.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
@click.pass_obj
def chaos_run(plant: str | None, experiment: tuple[str, ...], repeat: int, dry: bool, out: Path | None) -> None:
    """Run experiments and report their recovery clocks and lost writes.

    \b
    Example:  ./covenant chaos run pg-primary-kill bus-leader-kill
    """
    steps.check_experiments(experiment)
    if dry:
        click.echo("\n\n".join(catalog.plan(name) for name in experiment))
        return
    steps.run_chaos(experiment, repeat=repeat, out=out, plant=plant)


@chaos.command("heal")
def chaos_heal() -> None:
    """Undo every fault that is still open in the running system."""
    healed = healing.heal(running())
    click.echo("\n".join(healed) if healed else "no fault is open")

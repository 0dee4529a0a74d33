"""The commands of `./covenant load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from commands.run import knee, steps
from loadtests.arrivals import grammar
from loadtests.scenarios import scenarios
from loadtests.search.knee import RESOLUTION


@click.group()
def load() -> None:
    """Put load on the system."""


@load.command("list")
def load_list() -> None:
    """One scenario a line."""
    width = max(map(len, scenarios()))
    for name, scenario in scenarios().items():
        usual = f"default: {scenario.rate:g} {scenario.unit}, {scenario.duration_s:g} s"
        click.echo(f"{name:<{width}} {scenario.help} ({usual})")


@load.command("run")
@click.argument("scenario")
@click.option("--rate", type=float, help="Operations offered per second, in the scenario's unit.")
@click.option("--duration", "duration_s", type=float, help="Seconds measured, after the warm-up.")
@click.option("--warmup", "warmup_s", type=float, help="Seconds before, not measured; default: the scenario's own.")
@click.option("--arrival", "arrives", metavar="HOW", help=f"How they arrive: {grammar.GRAMMAR}.")
@click.option("--mode", help="How bus-ingest publishes: singles, atomic or fast batches; default: by the rate.")
@click.option("--users", type=int, help="Generator processes that share the rate; default 1, or 1 a region.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of everything random in the load.")
@click.option("--web", is_flag=True, help="Show Locust's own page while it runs.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
def load_run(scenario: str, out: Path | None, **options: Any) -> None:
    """Run one scenario and report on the rows that it is evidence for.

    \b
    Examples:  ./covenant load run bus-ingest --rate 10000 --duration 30
               ./covenant load run api-browse --arrival poisson+ramp:50..500 --seed 7
    """
    steps.run_load(scenario, plant=None, out=out, **options)


@load.command("knee")
@click.argument("scenario")
@click.option("--from", "first", type=float, metavar="R", help="The first rate tried; default: the scenario's usual.")
@click.option("--to", "most", type=float, metavar="R", help="The highest rate tried; default: as far as it goes.")
@click.option(
    "--duration", "duration_s", type=float,
    help=f"Seconds measured in each try; default: the scenario's own, at most {knee.STEP_S:g}.",
)  # fmt: skip
@click.option(
    "--resolution", type=float, default=RESOLUTION, show_default=True,
    help="How close the two ends of the interval come, as a share of the lower one.",
)  # fmt: skip
@click.option("--users", type=int, help="Generator processes that share the rate; default 1, or 1 a region.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of everything random in the load.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
def load_knee(scenario: str, **options: Any) -> None:
    """Find the highest rate at which every gate of the scenario holds at once, and draw latency against rate.

    Rates are doubled until one misses a gate, then the gap is halved. A miss counts when a second try misses, too, and
    the rate that is given as held has held twice. A try in which the generator was late or the machine was disturbed
    is made again; where the generator stays late, the knee is its own, and the run ends with 4. At last 80% of
    what held is tried, which leaves room to the knee. It takes about half a minute a try, ten to twenty tries.

    \b
    Examples:  ./covenant load knee api-browse
               ./covenant load knee bus-ingest --from 5000 --to 200000 --resolution 0.05
    """
    knee.run_knee(scenario, **options)

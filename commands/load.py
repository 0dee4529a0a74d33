"""The commands of `./covenant load`."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from commands.parameters import DURATION, SLO_HELP
from commands.run import knee, steps
from loadtests.request import Request, describe
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
@click.argument("scenario", metavar="SCENARIO|LOCUSTFILE")
@click.option("--rate", type=float, help=describe("rate"))
@click.option("--duration", "duration_s", type=DURATION, help=describe("duration_s"))
@click.option("--warmup", "warmup_s", type=DURATION, help=describe("warmup_s"))
@click.option("--arrival", metavar="HOW", help=describe("arrival"))
@click.option("--mode", help=describe("mode"))
@click.option("--users", type=int, help=describe("users"))
@click.option("--seed", type=int, default=1, show_default=True, help=describe("seed"))
@click.option("--abort-on-fail", is_flag=True, help=describe("abort_on_fail"))
@click.option("--slo", "slo_file", type=click.Path(path_type=Path), metavar="FILE", help=SLO_HELP)
@click.option("--web", is_flag=True, help=describe("web"))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
@click.pass_obj
def load_run(
    plant: str | None, scenario: str, rate: float | None, duration_s: float | None, warmup_s: float | None,
    arrival: str | None, mode: str | None, users: int | None, seed: int, abort_on_fail: bool,
    slo_file: Path | None, web: bool, out: Path | None,
) -> None:  # fmt: skip
    """Run one scenario and report on the rows that it is evidence for.

    A LOCUSTFILE (a file that ends in .py) is one of your own, load shape and all. It runs against the API of the first
    region, takes --users and --duration, and finds a reader's bearer token in COVENANT_TOKEN. Its users are a closed
    loop, so its response times are recorded exactly, shown as such, and judged by no row.

    \b
    Examples:  ./covenant load run bus-ingest --rate 10000 --duration 30s
               ./covenant load run soak --duration 1h30m --abort-on-fail
               ./covenant load run api-browse --arrival poisson+ramp:50..500 --seed 7
               ./covenant load run my_locustfile.py --users 20 --duration 2m
               ./covenant load run api-browse --arrival stages:100@0,500@30s,500@2m,0@30s
    """
    slo = steps.read_slo(slo_file)
    if scenario.endswith(".py"):
        _only_for_locustfiles(scenario)
        steps.run_locustfile(Path(scenario), users=users, duration_s=duration_s, plant=plant, out=out, slo=slo)
        return
    request = Request(
        scenario=scenario, rate=rate, duration_s=duration_s, warmup_s=warmup_s, arrival=arrival, mode=mode,
        users=users, seed=seed, abort_on_fail=abort_on_fail, web=web,
    )  # fmt: skip
    steps.run_load(request, plant=plant, out=out, slo=slo)


_FOR_LOCUSTFILES = ("scenario", "users", "duration_s", "slo_file", "out")


def _only_for_locustfiles(file: str) -> None:
    """UsageError for an option that a locustfile decides itself, or if there is no such file."""
    context = click.get_current_context()
    if not Path(file).is_file():
        raise click.UsageError(f"{file}: expected a locustfile, found no such file")
    for option in context.command.params:
        name = option.name or ""
        if name not in _FOR_LOCUSTFILES and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option.opts[0]}: a locustfile takes --users, --duration, --slo and --out alone")


@load.command("knee")
@click.argument("scenario")
@click.option("--from", "first", type=float, metavar="R", help="The first rate tried; default: the scenario's usual.")
@click.option("--to", "most", type=float, metavar="R", help="The highest rate tried; default: as far as it goes.")
@click.option(
    "--duration", "duration_s", type=DURATION,
    help=f"How long each try measures; default: as long as the scenario, at most {knee.STEP_S:g}s.",
)  # fmt: skip
@click.option(
    "--resolution", type=float, default=RESOLUTION, show_default=True,
    help="How close the two ends of the interval come, as a share of the lower one.",
)  # fmt: skip
@click.option("--users", type=int, help=describe("users"))
@click.option("--seed", type=int, default=1, show_default=True, help=describe("seed"))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
def load_knee(
    scenario: str, first: float | None, most: float | None, duration_s: float | None, resolution: float,
    users: int | None, seed: int, out: Path | None,
) -> None:  # fmt: skip
    """Find the highest rate at which every gate of the scenario holds at once, and draw latency against rate.

    Rates are doubled until one misses a gate, then the gap is halved. A miss counts when a second try misses, too, and
    the rate that is given as held has held twice. A try in which the generator was late or the machine was disturbed
    is made again; where the generator stays late, the knee is its own, and the run ends with 4. At last 80% of
    what held is tried, which leaves room to the knee. It takes about half a minute a try, ten to twenty tries.

    \b
    Examples:  ./covenant load knee api-browse
               ./covenant load knee bus-ingest --from 5000 --to 200000 --resolution 0.05
    """
    request = Request(scenario=scenario, rate=first, duration_s=duration_s, users=users, seed=seed)
    knee.run_knee(request, most=most, resolution=resolution, out=out)

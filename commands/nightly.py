"""`./covenant nightly`: the main job."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import structs

from commands.e2e import no_install
from commands.parameters import SLO_HELP
from commands.run import steps
from commands.run.profiles import PROFILES
from loadtests.request import check, describe


@click.command()
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="smoke", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help=describe("seed"))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run; default: reports/runs/<run id>.")
@click.option(
    "--only", type=click.Choice(["load", "chaos", "e2e"]), help="Only this part; the others are missing evidence."
)
@click.option("--slo", "slo_file", type=click.Path(path_type=Path), metavar="FILE", help=SLO_HELP)
@click.option("--release", help="Name of the release under test, for the report.")
@no_install
def nightly(
    profile: str, seed: int, out: Path | None, only: str | None, slo_file: Path | None, release: str | None,
    no_install: bool,
) -> None:  # fmt: skip
    """Start a system, load it, kill parts of it, browse it, report, stop everything.

    \b
    Example:  ./covenant nightly --profile smoke --release 2026.11
    """
    planned = PROFILES[profile]
    slo = steps.read_slo(slo_file)
    asked = planned.loads if only in (None, "load") else ()
    loads = [check(structs.replace(load, seed=seed)) for load in asked]
    found = steps.find_browsers(not no_install) if only in (None, "e2e") else None
    with steps.session(profile, seed=seed, out=out, release=release, experiments=planned.experiments, slo=slo) as run:
        run.start()
        steps.data(run)
        steps.data_points(run)
        steps.access(run)
        steps.security(run)
        for load in loads:
            steps.load(run, load)
        for experiment in planned.experiments if only in (None, "chaos") else ():
            steps.chaos(run, experiment)
        if found is not None:
            steps.browse(run, found, ["-m", "smoke"])
        steps.find_secrets(run)

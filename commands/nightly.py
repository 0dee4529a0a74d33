"""`./covenant nightly`: the main job."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from chaos import plants
from chaos.run import catalog
from commands.e2e import no_install
from commands.exit_codes import EXIT_USAGE, fail
from commands.parameters import DURATION, SLO_HELP
from commands.run import check_steps, expected, history, rehearsal, steps
from commands.run.profiles import PROFILES
from commands.run.programme import Asked, Place, Programme, Stock, in_round, planted, tonight
from commands.run.session import Session
from e2e import browser as browsers
from e2e import runner as e2e_runner
from infra.machine.checkout import RUNS
from infra.machine.progress import say
from loadtests.request import UsageError, describe
from reports.evidence import Kind, LeftOut

_NO_TIME = "no time was left for it tonight"


@click.command()
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="smoke", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help=describe("seed"))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run; default: reports/runs/<run id>.")
@click.option(
    "--only", type=click.Choice(["load", "chaos", "e2e"]), help="Only this part; the others are missing evidence."
)
@click.option("--slo", "slo_file", type=click.Path(path_type=Path), metavar="FILE", help=SLO_HELP)
@click.option(
    "--hours", type=click.FloatRange(1, 72), help="Of the profile nightly: how long the night may take; default: 1."
)
@click.option("--duration", "duration_s", type=DURATION, help="Of the profile soak: how long its load takes.")
@click.option("--release", help="Name of the release under test, for the report.")
@no_install
def nightly(
    profile: str, seed: int, out: Path | None, only: str | None, slo_file: Path | None, hours: float | None,
    duration_s: float | None, release: str | None, no_install: bool,
) -> None:  # fmt: skip
    """Start a system, load it, kill parts of it, browse it, report, stop everything.

    smoke takes about five minutes, up to eight where a phase is made again since other programs or the hypervisor took
    the machine. nightly takes an hour on two cores and judges every row that is built: experiments, browser suites and
    planted bugs take turns by date, so that three nights see them all; planted bugs run last, each on a system of its
    own. soak loads a system for hours and judges what leaks and what drifts; it repeats nothing.

    \b
    Examples:  ./covenant nightly --profile smoke --release 2026.11
               ./covenant nightly --profile nightly --hours 3
               ./covenant nightly --profile soak --duration 4h
    """
    asked = Asked(only=only, hours=hours, duration_s=duration_s, seed=seed)
    _check(profile, asked)
    slo = steps.read_slo(slo_file)
    found: list[browsers.Browser] | str = "the profile opens no browser"
    if PROFILES[profile].browser is not None and only in (None, "e2e"):
        found = steps.find_browsers(not no_install)
    with steps.session(profile, seed=seed, out=out, release=release, slo=slo) as run:
        programme = _programme(run, profile, asked)
        _follow(run, programme, found)


def _check(profile: str, asked: Asked) -> None:
    """Ends the process as wrong usage if the profile has no use for an option, or a load cannot be that long."""
    if asked.hours is not None and PROFILES[profile].budgets is None:
        fail(EXIT_USAGE, f"--hours is for the profile nightly, found {profile}")
    if asked.duration_s is not None and profile != "soak":
        fail(EXIT_USAGE, f"--duration is for the profile soak, found {profile}")
    try:
        tonight(PROFILES[profile], stock(), Place("core", apart=True), datetime.now(UTC).date(), asked)
    except UsageError as error:
        fail(EXIT_USAGE, str(error))


def stock() -> Stock:
    """All experiments, suites and planted bugs that there are."""
    return Stock(catalog.experiments(), e2e_runner.suites(), list(plants.PLANTS.values()))


def _programme(run: Session, profile: str, asked: Asked) -> Programme:
    """The programme for the system and the date of this run; it is in the run's evidence from now on."""
    place = Place(run.run.size, apart=run.run.distance != "none")
    programme = tonight(PROFILES[profile], stock(), place, datetime.fromisoformat(run.run.started_at).date(), asked)
    run.run.experiments = list(dict.fromkeys(each.name for each in programme.experiments))
    run.folder.write_run(run.run)
    _leave_out(run, list(programme.left_out))
    run.pace = programme.pace()
    phases = [*programme.phases(), *check_steps.judged(profile)]
    run.folder.write_expected(expected.of_run(run.folder, run.run, phases))
    return programme


def _leave_out(run: Session, left: list[LeftOut]) -> None:
    """Add to what this run leaves out, with the run that saw it last."""
    if left:
        run.folder.write_left_out([*run.folder.left_out(), *history.with_last(left, RUNS, say)])


def _follow(run: Session, programme: Programme, found: list[browsers.Browser] | str) -> None:
    """Everything in order. What a phase breaks does not keep the next one from its turn."""
    run.start()
    check_steps.data(run)
    check_steps.data_points(run)
    check_steps.access(run)
    check_steps.security(run)
    check_steps.audit_tampering(run)
    rehearsal.rehearse(run, [load.request for load in programme.loads if load.rehearsed])
    for load in programme.loads:
        steps.load(run, load.request, calibrated=load.calibrated)
    for number in range(1, programme.rounds + 1):
        for experiment in programme.experiments:
            _experiment(run, programme, experiment.name, experiment.seconds, number)
    check_steps.copies(run)
    check_steps.parts(run)
    if programme.browser is not None:
        limit = None if programme.budgets is None else programme.budgets.browser_s
        steps.browse(run, found, programme.browser, suites=programme.suites, within_s=limit)
    check_steps.audit_verified(run)
    check_steps.find_secrets(run)
    if programme.bugs:
        run.end_system()
    for bug in programme.bugs:
        if _has_time(run, "bugs", planted(bug.name), bug.seconds, "planted bug", bug.name):
            steps.plant(run, bug.name)


def _experiment(run: Session, programme: Programme, name: str, seconds: float, number: int) -> None:
    always = number == 1 and (programme.budgets is None or name in PROFILES[run.run.profile].experiments)
    if always or _has_time(run, "chaos", in_round(name, number), seconds, "experiment", name if number == 1 else None):
        steps.chaos(run, name, number)


def _has_time(run: Session, kind: str, phase: str, seconds: float, what: Kind, left: str | None) -> bool:
    """Whether there is time for a phase; else it is skipped, and left out by name where nothing of it ran."""
    if run.pace.has_time_for(kind, seconds):
        return True
    run.pace.begin(phase)
    run.pace.end(phase)
    run.skip(phase, _NO_TIME)
    if left is not None:
        _leave_out(run, [LeftOut(kind=what, name=left, why=_NO_TIME)])
    return False

"""The command line: every command on one page, and the only place that knows all parts.

Answers go to stdout, progress to stderr. Exit codes: 0 PASS, 1 FAIL, 2 wrong usage, 3 INCONCLUSIVE,
4 INVALID, 5 the system would not start or a part is missing, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

import reports
from chaos import catalog, journal, plants
from chaos import runner as chaos_runner
from e2e import browser as browsers
from e2e import runner as e2e_runner
from infra import checks, keeper, machine, processes, target
from infra.create import CannotStart, create
from infra.fabric import process as fabric
from infra.progress import say, step
from infra.session import Session, StepFailed
from infra.status import status as system_status
from infra.status import to_text as status_text
from infra.target import UP
from loadtests import data_facts
from loadtests import runner as load_runner
from loadtests.engine import host
from loadtests.scenarios import scenarios
from reports.evidence import Run, RunFolder
from reports.evidence.folder import EvidenceError, find_run

CHECKOUT = Path(__file__).resolve().parent
RUNS = CHECKOUT / "reports" / "runs"
SIZE = "core"
EXIT_USAGE, EXIT_UNTRUSTED, EXIT_NOT_STARTED, EXIT_INTERRUPTED = 2, 4, 5, 130

# What `nightly` does, by profile: loads in order (scenario, offered per second, measured seconds), then
# experiments. 600 requests/s for 56 s are the 30,000 that 99.99% needs, with some to spare.
PROFILES: dict[str, tuple[tuple[tuple[str, float, float], ...], tuple[str, ...]]] = {
    "smoke": (
        (("api-browse", 600, 56), ("bus-ingest", 2000, 25)),
        ("pg-primary-kill", "bus-leader-kill", "analytics-kill"),
    )
}


class OneLine(click.Group):
    """Wrong usage is answered in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "./covenant"
            fail(EXIT_USAGE, f"{error.format_message()} (see {where} --help)")
        except (click.Abort, KeyboardInterrupt):
            sys.exit(EXIT_INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end with the code of a missed gate
            crash = CHECKOUT / ".covenant" / "crash.log"
            crash.parent.mkdir(exist_ok=True)
            crash.write_text(traceback.format_exc())
            fail(EXIT_UNTRUSTED, f"the harness failed: {type(error).__name__}: {error} (more in {crash})")


def fail(code: int, message: str) -> NoReturn:
    say(f"covenant: {message}")
    sys.exit(code)


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Put Covenant's claims to the test: load it, break it, browse it, and read the verdict.

    \b
    Start here:  ./covenant nightly --profile smoke    (everything, five minutes)
    Then:        ./covenant report show                (the newest report again)
    """


# The main job.


@main.command()
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="smoke", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of everything random in the load.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run; default: reports/runs/<run id>.")
@click.option(
    "--only", type=click.Choice(["load", "chaos", "e2e"]), help="Only this part; the others are missing evidence."
)
@click.option("--release", help="Name of the release under test, for the report.")
@click.option("--install-browser", is_flag=True, help="Install Chromium with apt if there is no browser (root).")
def nightly(
    profile: str, seed: int, out: Path | None, only: str | None, release: str | None, install_browser: bool
) -> None:
    """Start a system, load it, kill parts of it, browse it, report, stop everything.

    \b
    Example:  ./covenant nightly --profile smoke --release 2026.11
    """
    loads, experiments = PROFILES[profile]
    browser: browsers.Browser | str | None = None
    if only in (None, "e2e"):
        browser = _browser(install_browser)
    with _session(profile, seed=seed, out=out, release=release, experiments=experiments) as run:
        run.start()
        with run.phase("data"):
            data_facts.record(run.system.target(), run.folder)
        for scenario, rate, duration_s in loads if only in (None, "load") else ():
            _load_phase(run, scenario, rate=rate, duration_s=duration_s)
        for experiment in experiments if only in (None, "chaos") else ():
            _chaos_phase(run, experiment)
        if browser is not None:
            _e2e_phase(run, browser, ["-m", "smoke"])


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(pytest_arguments: tuple[str, ...]) -> None:
    """Check style, types and import rules, then run every test on a system of its own.

    With pytest arguments only pytest runs, with these.

    \b
    Example:  ./covenant test
              ./covenant test -k ledger
    """
    failed = [] if pytest_arguments else checks.static(CHECKOUT)
    browser = _browser(install=False)
    tally = checks.pytest(CHECKOUT, ["-n", "2", "-m", f"not ({checks.SHARED})", *pytest_arguments], {})
    name = f"test-{secrets.token_hex(3)}"
    system = _create_system(name)
    try:
        with step("system") as progress:
            system.start(progress)
        environment = {target.VARIABLE: str(system.target_path)}
        if isinstance(browser, str):
            say(f"browser tests: skipped: {browser}")
            marks = "running and not browser"
        else:
            environment[browsers.VARIABLE] = browser.executable or ""
            marks = checks.SHARED
        tally += checks.pytest(CHECKOUT, ["-m", marks, *pytest_arguments], environment)
    except fabric.StartError as error:
        fail(EXIT_NOT_STARTED, str(error))
    finally:
        system.stop()
        system.remove()
    for name in failed:
        click.echo(f"failed: {name}")
    click.echo(str(tally))
    sys.exit(1 if failed or tally.failed or tally.broken or not tally.passed else 0)


# The running system.


@main.command()
@click.option("--fabric", "fabric_name", type=click.Choice(["process"]), default="process", show_default=True)
@click.option("--size", type=click.Choice(["core"]), default="core", show_default=True)
@click.option("--bus", type=click.Choice(["regional"]), default="regional", show_default=True)
@click.option("--detach", is_flag=True, help="Come back when it is ready; end it with ./covenant down.")
def up(fabric_name: str, size: str, bus: str, detach: bool) -> None:
    """Start a system and keep it running: until Ctrl-C, or with --detach until `down`.

    \b
    Example:  ./covenant up --detach && ./covenant status
    """
    if UP.exists() and fabric.owner_alive(UP):
        fail(EXIT_USAGE, "a system of this checkout is running already: ./covenant status, ./covenant down")
    if detach:
        ended = keeper.detach(["up", "--fabric", fabric_name, "--size", size, "--bus", bus], CHECKOUT, click.echo)
        sys.exit(ended)
    system = _create_system("up")
    try:
        keeper.keep(system, click.echo)
    except fabric.StartError as error:
        fail(EXIT_NOT_STARTED, str(error))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="The whole state, for programs (holds the observers' passwords).")
def status(as_json: bool) -> None:
    """Tell what is running in this checkout.

    \b
    Example:  ./covenant status --json | python3 -m json.tool
    """
    system = _running()
    state = system_status(system, [fault.describe() for fault in journal.open_faults(system.site.path)])
    click.echo(json.dumps(state, indent=1) if as_json else status_text(state))


@main.command()
def down() -> None:
    """End the system that `up` started in this checkout, and what crashed runs left.

    \b
    Example:  ./covenant down
    """
    gone = keeper.down(UP, CHECKOUT)
    say("nothing of this checkout is running" if gone else "the system did not end; run down again")


# Parts of the main job, against the running system or one of their own.


@main.group()
def load() -> None:
    """Put load on the system."""


@load.command("list")
def load_list() -> None:
    """One scenario a line."""
    for name, scenario in scenarios().items():
        click.echo(
            f"{name:<14} {scenario.help} (default: {scenario.rate:g} {scenario.unit}, {scenario.duration_s:g} s)"
        )


@load.command("run")
@click.argument("scenario")
@click.option("--rate", type=float, help="Operations offered per second, in the scenario's unit.")
@click.option("--duration", "duration_s", type=float, help="Seconds measured, after a short warm-up.")
@click.option("--users", type=int, help="Generator processes that share the rate; default 1.")
@click.option("--web", is_flag=True, help="Show Locust's own page while it runs.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
def load_run(scenario: str, out: Path | None, **options: Any) -> None:
    """Run one scenario and report on the rows that it is evidence for.

    \b
    Example:  ./covenant load run bus-ingest --rate 10000 --duration 30
    """
    _run_load(scenario, plant=None, out=out, **options)


@main.group()
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
    _known_experiments([experiment])
    click.echo(catalog.plan(experiment))


@chaos.command("run")
@click.argument("experiment", nargs=-1, required=True)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--dry", is_flag=True, help="Only say what would be done.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the run.")
def chaos_run(experiment: tuple[str, ...], repeat: int, dry: bool, out: Path | None) -> None:
    """Run experiments and report their recovery clocks and lost writes.

    \b
    Example:  ./covenant chaos run pg-primary-kill bus-leader-kill
    """
    _known_experiments(experiment)
    if dry:
        click.echo("\n\n".join(catalog.plan(name) for name in experiment))
        return
    _run_chaos(experiment, repeat=repeat, out=out, plant=None)


@chaos.command("heal")
def chaos_heal() -> None:
    """Undo every fault that is still open in the running system."""
    healed = journal.heal(_running())
    click.echo("\n".join(healed) if healed else "no fault is open")


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--install-browser", is_flag=True, help="Install Chromium with apt if there is no browser (root).")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def e2e(install_browser: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Run the browser suites and report.

    \b
    Example:  ./covenant e2e -k region
    """
    browser = _browser(install_browser)
    with _session("e2e") as run:
        run.start()
        _e2e_phase(run, browser, list(pytest_arguments))


@main.command()
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
            _run_load(plant=bug, **load_run.make_context("load run", words[2:]).params)
        case ["chaos", "run"]:
            options = chaos_run.make_context("chaos run", words[2:]).params
            _known_experiments(options["experiment"])
            _run_chaos(options["experiment"], repeat=options["repeat"], out=options["out"], plant=bug)
        case _:
            fail(EXIT_USAGE, f"plant takes `load run ...` or `chaos run ...`, found: {' '.join(words)}")


@main.group()
def report() -> None:
    """Read the reports."""


@report.command("show")
@click.argument("run", required=False)
def report_show(run: str | None) -> None:
    """Compute a run's verdict again from its evidence; RUN is an id or a folder, default the newest.

    \b
    Example:  ./covenant report show
    """
    try:
        result = reports.assess(find_run(RUNS, run))
    except EvidenceError as error:
        fail(EXIT_USAGE, str(error))
    click.echo(reports.to_text(result))
    sys.exit(reports.exit_code(result))


# Inside.


@contextmanager
def _session(
    profile: str,
    *,
    seed: int = 1,
    out: Path | None = None,
    release: str | None = None,
    experiments: tuple[str, ...] = (),
    plant: str | None = None,
) -> Iterator[Session]:
    """A run of a profile on the running system, or on one of its own; ends the process with its verdict."""
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%d-%H%M%S}-{profile.replace('.', '-')}-{secrets.token_hex(2)}"
    try:
        folder = RunFolder.create(out or RUNS / run_id)
    except OSError as error:
        fail(EXIT_USAGE, f"the run folder cannot be written: {error}; name another with --out")
    if (folder.evidence / "run.json").exists():
        fail(EXIT_USAGE, f"{folder.path} holds a run already; name another with --out")
    own = profile in PROFILES or plant is not None or not (UP.exists() and fabric.owner_alive(UP))
    system = _create_system(run_id, plant=plant) if own else _running()
    os.environ.update({processes.RUN_ID: system.site.run_id, processes.KIND: "harness"})
    facts = system.target()
    run = Run(
        run_id=run_id, profile=profile, command=shlex.join(["./covenant", *sys.argv[1:]]), seed=seed, release=release,
        started_at=now.isoformat(timespec="seconds"), started_ns=time.monotonic_ns(), planted=plant, size=SIZE,
        regions=facts.regions, experiments=list(experiments), durability=facts.durability, security=facts.security,
        fingerprint=machine.fingerprint(CHECKOUT, system.versions(), system.place.topology.sha256),
    )  # fmt: skip
    session = Session(
        run, folder, system, owned=own, monitor=host.command(folder, system.site.run_id, system.site.path), heal=_heal
    )
    with session:
        yield session
    with step("report") as progress:
        progress(0.1, "computing the verdict from the evidence")
        result = reports.assess(folder)
        reports.publish(folder, result)
    click.echo(reports.to_text(result))
    click.echo(f"report: {folder.path / 'report.html'}")
    sys.exit(reports.exit_code(result))


def _heal(system: fabric.System) -> None:
    """Undo what is still open; what cannot be undone is said, and ends with the system."""
    try:
        for undone in journal.heal(system):
            say(f"healed: {undone}")
    except (journal.HealError, journal.JournalError) as error:
        say(f"healing: {error}")


def _create_system(name: str, *, plant: str | None = None) -> fabric.System:
    """A system to be started, laid out in a home of that name; ends the process if it cannot be."""
    try:
        return create(CHECKOUT, name, size=SIZE, plant=plants.environment(plant) if plant else {})
    except CannotStart as error:
        fail(EXIT_NOT_STARTED, str(error))


def _running() -> fabric.System:
    if not (UP / target.FILE).exists():
        fail(EXIT_USAGE, "no system of this checkout is running: ./covenant up --detach")
    return fabric.System.attach(UP)


def _known_experiments(names: tuple[str, ...] | list[str]) -> None:
    known = [experiment.id for experiment in catalog.experiments()]
    for name in names:
        if name not in known:
            fail(EXIT_USAGE, f"no experiment is called {name!r}; there are: {', '.join(known)}")


def _run_load(scenario: str, *, plant: str | None, out: Path | None, **options: Any) -> None:
    checked = {name: options[name] for name in ("rate", "duration_s", "users")}
    try:
        load_runner.check(scenario, **checked)
    except ValueError as error:
        fail(EXIT_USAGE, str(error))
    with _session(f"load.{scenario}", out=out, plant=plant) as run:
        run.start()
        _load_phase(run, scenario, **options)


def _run_chaos(experiments: tuple[str, ...], *, repeat: int, out: Path | None, plant: str | None) -> None:
    with _session("chaos", out=out, experiments=experiments, plant=plant) as run:
        run.start()
        for number in range(1, repeat + 1):
            for experiment in experiments:
                _chaos_phase(run, experiment, number)


def _load_phase(run: Session, scenario: str, **options: Any) -> None:
    with run.phase(scenario) as progress:
        try:
            load_runner.run(
                scenario, folder=run.folder, target_path=run.system.target_path, progress=progress,
                seed=run.run.seed, **options,
            )  # fmt: skip
        except load_runner.LoadError as error:
            raise StepFailed(str(error)) from error


def _chaos_phase(run: Session, experiment: str, repeat: int = 1) -> None:
    with run.phase(experiment) as progress:
        try:
            chaos_runner.run(experiment, folder=run.folder, home=run.system.site.path, progress=progress, repeat=repeat)
        except chaos_runner.ExperimentError as error:
            raise StepFailed(str(error)) from error


def _browser(install: bool) -> browsers.Browser | str:
    """The browser, or why there is none."""
    try:
        return browsers.find(install_with_apt=install or os.environ.get("CI") == "true", tell=say)
    except browsers.NoBrowser as error:
        return str(error)


def _e2e_phase(run: Session, browser: browsers.Browser | str, arguments: list[str]) -> None:
    if isinstance(browser, str):
        run.skip("browser", browser)
        return
    with run.phase("browser") as progress:
        progress(0.1, "running the suites")
        try:
            e2e_runner.run(browser, run.folder, run.system.target_path, arguments)
        except e2e_runner.SuiteError as error:
            raise StepFailed(str(error)) from error


if __name__ == "__main__":
    main(prog_name="./covenant")

"""The command line: every command on one page (`load` has its own), and the only place that knows all parts.

Answers go to stdout, progress to stderr. Exit codes: 0 PASS, 1 FAIL, 2 wrong usage, 3 INCONCLUSIVE,
4 INVALID, 5 the system would not start or a part is missing, 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import traceback
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

import reports
from chaos import journal, plants
from chaos.run import catalog
from commands import checked, keeper, restoring
from commands.load import load, load_run
from commands.run import steps
from commands.run.steps import (
    CHECKOUT,
    EXIT_INTERRUPTED,
    EXIT_NOT_STARTED,
    EXIT_UNTRUSTED,
    EXIT_USAGE,
    PROFILES,
    RUNS,
    fail,
)
from e2e import browser as browsers
from infra import target
from infra.fabric.process.system import StartError
from infra.fabric.status import status as system_status
from infra.fabric.status import to_text as status_text
from infra.machine.progress import say, step
from infra.operations import promotion, rotation
from infra.preflight import planned
from infra.preflight.text import to_text as preflight_text
from infra.site import clients
from infra.target import UP
from infra.topology import model as topology
from infra.topology import options
from reports.evidence.folder import EvidenceError, find_run
from reports.policy.claims import load_claims
from system.wire import Region, Role


class OneLine(click.Group):
    """Wrong usage is answered in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # nats-py's streams do over TLS what asyncio warns of each time a connection ends; nothing comes of it.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
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
        browser = steps.find_browser(install_browser)
    with steps.session(profile, seed=seed, out=out, release=release, experiments=experiments) as run:
        run.start()
        steps.data(run)
        steps.access(run)
        steps.security(run)
        for scenario, rate, duration_s in loads if only in (None, "load") else ():
            steps.load(run, scenario, rate=rate, duration_s=duration_s)
        for experiment in experiments if only in (None, "chaos") else ():
            steps.chaos(run, experiment)
        if browser is not None:
            steps.browse(run, browser, ["-m", "smoke"])
        steps.find_secrets(run)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--full", is_flag=True, help="The slow acceptance tests, too: up to two hours.")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(full: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Check style, types and import rules, then run every test on a system of its own.

    With pytest arguments only pytest runs, with these.

    \b
    Example:  ./covenant test
              ./covenant test -k ledger
    """
    failed = [] if pytest_arguments else checked.static(CHECKOUT)
    slow = "" if full else " and not full"
    browser = steps.find_browser(install=False)
    tally = checked.pytest(CHECKOUT, ["-n", "2", "-m", f"not ({checked.SHARED}){slow}", *pytest_arguments], {})
    name = f"test-{secrets.token_hex(3)}"
    system = steps.create_system(name)
    try:
        with step("system") as progress:
            system.start(progress)
        environment = {target.VARIABLE: str(system.target_path)}
        if isinstance(browser, str):
            say(f"browser tests: skipped: {browser}")
            marks = "running and not browser"
        else:
            environment[browsers.VARIABLE] = browser.executable or ""
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


# The running system.


@main.command()
@click.option("--fabric", "fabric_name", type=click.Choice(["process"]), default="process", show_default=True)
@click.option("--size", type=click.Choice(["core", "full"]), default="core", show_default=True)
@click.option("--bus", type=click.Choice(["regional", "stretched"]), default="regional", show_default=True)
@click.option(
    "--scale", type=click.IntRange(300, 58_500), default=300, show_default=True, help="Projects to start with."
)
@click.option(
    "--with",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help="Leave a default, more than one if need be: " + "; ".join(options.choices()) + ".",
)
@click.option("--detach", is_flag=True, help="Come back when it is ready; end it with ./covenant down.")
def up(fabric_name: str, size: str, bus: str, scale: int, choices: tuple[str, ...], detach: bool) -> None:
    """Start a system and keep it running: until Ctrl-C, or with --detach until `down`.

    \b
    Examples:  ./covenant up --detach && ./covenant status
               ./covenant up --size full --with durability=any-1
    """
    try:
        chosen = options.parse([*choices, f"bus={bus}"])
    except ValueError as error:
        fail(EXIT_USAGE, f"--with {error}")
    if steps.is_up():
        fail(EXIT_USAGE, "a system of this checkout is running already: ./covenant status, ./covenant down")
    if detach:
        same = ["--fabric", fabric_name, "--size", size, "--bus", bus, "--scale", str(scale)]
        same += [argument for choice in choices for argument in ("--with", choice)]
        sys.exit(keeper.detach(["up", *same], CHECKOUT, click.echo))
    system = steps.create_system("up", size=size, projects=scale, options=chosen)
    try:
        keeper.keep(system, click.echo)
    except StartError as error:
        fail(EXIT_NOT_STARTED, str(error))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="The whole state, for programs (holds the observers' passwords).")
def status(as_json: bool) -> None:
    """Tell what is running in this checkout.

    \b
    Example:  ./covenant status --json | python3 -m json.tool
    """
    system = steps.running()
    state = system_status(system, [fault.describe() for fault in journal.open_faults(system.site.path)])
    click.echo(json.dumps(state, indent=1) if as_json else status_text(state))


@main.command()
def down() -> None:
    """End the system that `up` started in this checkout, and what crashed runs left.

    \b
    Example:  ./covenant down
    """
    gone = keeper.down(UP, CHECKOUT)
    say("nothing of this checkout is running any more" if gone else "the system did not end; run down again")


@main.command()
@click.option("--size", type=click.Choice(["core", "full"]), default="full", show_default=True)
@click.option("--bus", type=click.Choice(["regional", "stretched"]), default="regional", show_default=True)
@click.option(
    "--with", "choices", multiple=True, metavar="NAME=VALUE", help="As for `up`: " + "; ".join(options.choices()) + "."
)
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def preflight(size: str, bus: str, choices: tuple[str, ...], as_json: bool) -> None:
    """Tell what is possible before anything runs: floors, worst cases, limits, and every claim's prospects.

    Computed from the topology (COVENANT_TOPOLOGY names another one), the options and this machine.

    \b
    Examples:  ./covenant preflight
               ./covenant preflight --bus stretched --with durability=async
    """
    try:
        chosen = options.parse([*choices, f"bus={bus}"])
        found = planned(topology.load(), size, chosen, CHECKOUT, load_claims())
    except ValueError as error:
        fail(EXIT_USAGE, f"--with {error}")
    except (topology.TopologyError, OSError) as error:
        fail(EXIT_USAGE, str(error))
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode() if as_json else preflight_text(found))


@main.command()
def rotate() -> None:
    """Give every part of the running system a new certificate: servers reload, processes restart one by one.

    \b
    Example:  ./covenant rotate && ./covenant status
    """
    try:
        with step("rotate") as progress:
            rotation.rotate(steps.running(), progress)
    except (rotation.NotRotated, OSError) as error:
        fail(EXIT_USAGE, str(error))


@main.command()
@click.argument("order", type=click.Choice(["take-over", "bring-back"]))
@click.argument("name", metavar="REGION", type=click.Choice(get_args(Region)))
def region(order: str, name: str) -> None:
    """Make a region the active one after the loss of another, or bring a lost one back.

    \b
    Examples:  ./covenant region take-over ams     (database, bus, relay and consumers go on from ams)
               ./covenant region bring-back iad    (iad follows ams; take-over iad hands back)
    """
    sys.exit(promotion.main(order, name, steps.running().site.path))


@main.command()
@click.option("--table", required=True, metavar="NAME", help="The table to bring back.")
@click.option("--at", required=True, metavar="TIME", help="As it was when; ISO 8601, UTC unless it says otherwise.")
@click.option("--replace", is_flag=True, help="If there is one: keep it in a schema of its own, and restore.")
def restore(table: str, at: str, replace: bool) -> None:
    """Restore a table of the running system from its backups in S3, to the instant.

    \b
    Examples:  ./covenant restore --table projects --at 2026-11-24T16:48:13.860
               ./covenant restore --table projects --at "2026-11-24 17:48:13+01:00" --replace
    """
    sys.exit(restoring.table(steps.running(), table, at, replace=replace))


@main.command()
@click.argument("role", type=click.Choice(get_args(Role)))
@click.option("--region", type=click.Choice(get_args(Region)), help="A steward's region; for others, whose API signs.")
def token(role: str, region: str | None) -> None:
    """Print a bearer token of the running system, valid for 15 minutes.

    \b
    Example:  curl -H "Authorization: Bearer $(./covenant token reader)" URL/api/v1/countries
    """
    try:
        click.echo(clients.token(steps.running().target(), role, region))
    except clients.NoToken as error:
        fail(EXIT_USAGE, str(error))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def audit(arguments: tuple[str, ...]) -> None:
    """Check or export the running system's audit trail: verify, export, list.

    \b
    Example:  ./covenant audit verify
    """
    sys.exit(steps.running().run_tool("system.tools.audit", arguments))


@main.command("dead-letters", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def dead_letters(arguments: tuple[str, ...]) -> None:
    """Events that a consumer of the running system could not apply: list them, replay them.

    \b
    Example:  ./covenant dead-letters list
              ./covenant dead-letters replay --consumer analytics
    """
    sys.exit(steps.running().run_tool("system.events.consuming.dead_letters", arguments))


# Parts of the main job, against the running system or one of their own.


main.add_command(load)


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
    steps.check_experiments([experiment])
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
    steps.check_experiments(experiment)
    if dry:
        click.echo("\n\n".join(catalog.plan(name) for name in experiment))
        return
    steps.run_chaos(experiment, repeat=repeat, out=out, plant=None)


@chaos.command("heal")
def chaos_heal() -> None:
    """Undo every fault that is still open in the running system."""
    healed = journal.heal(steps.running())
    click.echo("\n".join(healed) if healed else "no fault is open")


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--install-browser", is_flag=True, help="Install Chromium with apt if there is no browser (root).")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def e2e(install_browser: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Run the browser suites and report.

    \b
    Example:  ./covenant e2e -k region
    """
    browser = steps.find_browser(install_browser)
    with steps.session("e2e") as run:
        run.start()
        steps.browse(run, browser, pytest_arguments)


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
            steps.run_load(plant=bug, **load_run.make_context("load run", words[2:]).params)
        case ["chaos", "run"]:
            options = chaos_run.make_context("chaos run", words[2:]).params
            steps.check_experiments(options["experiment"])
            steps.run_chaos(options["experiment"], repeat=options["repeat"], out=options["out"], plant=bug)
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


if __name__ == "__main__":
    main(prog_name="./covenant")

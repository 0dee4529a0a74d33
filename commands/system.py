"""The commands about the running system: start it, look at it, operate it, end it."""

from __future__ import annotations

import json
import sys
from typing import get_args

import click
import msgspec

from chaos.healing import open_faults
from commands import keeper, restoring
from commands.exit_codes import EXIT_NOT_STARTED, EXIT_USAGE, fail
from commands.run.systems import create_system, is_up, running
from infra.fabric.protocol import StartError
from infra.fabric.status import status as system_status
from infra.fabric.status import to_text as status_text
from infra.machine.checkout import CHECKOUT
from infra.machine.progress import say, step
from infra.operations import promotion, rotation
from infra.preflight import planned
from infra.preflight.text import to_text as preflight_text
from infra.site import clients
from infra.target import UP
from infra.topology import model as topology
from infra.topology import options
from reports.policy.claims import load_claims
from system.wire import Region, Role


@click.command()
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
    if is_up():
        fail(EXIT_USAGE, "a system of this checkout is running already: ./covenant status, ./covenant down")
    if detach:
        same = ["--fabric", fabric_name, "--size", size, "--bus", bus, "--scale", str(scale)]
        same += [argument for choice in choices for argument in ("--with", choice)]
        sys.exit(keeper.detach(["up", *same], CHECKOUT, click.echo))
    system = create_system("up", size=size, projects=scale, options=chosen)
    try:
        keeper.keep(system, click.echo)
    except StartError as error:
        fail(EXIT_NOT_STARTED, str(error))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The whole state, for programs (holds the observers' passwords).")
def status(as_json: bool) -> None:
    """Tell what is running in this checkout.

    \b
    Example:  ./covenant status --json | python3 -m json.tool
    """
    system = running()
    state = system_status(system, [fault.describe() for fault in open_faults(system.site.path)])
    click.echo(json.dumps(state, indent=1) if as_json else status_text(state))


@click.command()
def down() -> None:
    """End the system that `up` started in this checkout, and what crashed runs left.

    \b
    Example:  ./covenant down
    """
    gone = keeper.down(UP, CHECKOUT)
    say("nothing of this checkout is running any more" if gone else "the system did not end; run down again")


@click.command()
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


@click.command()
def rotate() -> None:
    """Give every part of the running system a new certificate: servers reload, processes restart one by one.

    \b
    Example:  ./covenant rotate && ./covenant status
    """
    try:
        with step("rotate") as progress:
            rotation.rotate(running(), progress)
    except (rotation.NotRotated, OSError) as error:
        fail(EXIT_USAGE, str(error))


@click.command()
@click.argument("order", type=click.Choice(["take-over", "bring-back"]))
@click.argument("name", metavar="REGION", type=click.Choice(get_args(Region)))
def region(order: str, name: str) -> None:
    """Make a region the active one after the loss of another, or bring a lost one back.

    \b
    Examples:  ./covenant region take-over ams     (database, bus, relay and consumers go on from ams)
               ./covenant region bring-back iad    (iad follows ams; take-over iad hands back)
    """
    work = {"take-over": promotion.take_over, "bring-back": promotion.bring_back}[order]
    system = running()
    try:
        with step(f"{order} {name}"):
            work(system, name)
    except (promotion.NotTakenOver, StartError) as error:
        say(str(error))
        sys.exit(1)


@click.command()
@click.option("--table", required=True, metavar="NAME", help="The table to bring back.")
@click.option("--at", required=True, metavar="TIME", help="As it was when; ISO 8601, UTC unless it says otherwise.")
@click.option("--replace", is_flag=True, help="If there is one: keep it in a schema of its own, and restore.")
def restore(table: str, at: str, replace: bool) -> None:
    """Restore a table of the running system from its backups in S3, to the instant.

    \b
    Examples:  ./covenant restore --table projects --at 2026-11-24T16:48:13.860
               ./covenant restore --table projects --at "2026-11-24 17:48:13+01:00" --replace
    """
    sys.exit(restoring.table(running(), table, at, replace=replace))


@click.command()
@click.argument("role", type=click.Choice(get_args(Role)))
@click.option("--region", type=click.Choice(get_args(Region)), help="A steward's region; for others, whose API signs.")
def token(role: str, region: str | None) -> None:
    """Print a bearer token of the running system, valid for 15 minutes.

    \b
    Example:  curl -H "Authorization: Bearer $(./covenant token reader)" URL/api/v1/countries
    """
    try:
        click.echo(clients.token(running().target(), role, region))
    except clients.NoToken as error:
        fail(EXIT_USAGE, str(error))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def audit(arguments: tuple[str, ...]) -> None:
    """Check or export the running system's audit trail: verify, export, list.

    \b
    Example:  ./covenant audit verify
    """
    sys.exit(running().run_tool("system.tools.audit", arguments))


@click.command("dead-letters", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def dead_letters(arguments: tuple[str, ...]) -> None:
    """Events that a consumer of the running system could not apply: list them, replay them.

    \b
    Example:  ./covenant dead-letters list
              ./covenant dead-letters replay --consumer analytics
    """
    sys.exit(running().run_tool("system.events.consuming.dead_letters", arguments))

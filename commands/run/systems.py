"""The system that a run is about: the one that `up` keeps running, or one of the run's own."""

from __future__ import annotations

from chaos import plants
from commands.exit_codes import EXIT_NOT_STARTED, EXIT_USAGE, fail
from infra import target
from infra.fabric.process import homes
from infra.fabric.process.create import CannotStart, create
from infra.fabric.process.system import System
from infra.machine.checkout import CHECKOUT
from infra.target import UP
from infra.topology.options import DEFAULTS, Options

_SIZE = "core"


def create_system(
    name: str, *, plant: str | None = None, size: str = _SIZE, projects: int = 300, options: Options = DEFAULTS
) -> System:
    """A system to be started, laid out in a home of that name; ends the process if it cannot be."""
    try:
        environment = plants.environment(plant) if plant else {}
        return create(CHECKOUT, name, size=size, plant=environment, projects=projects, options=options)
    except CannotStart as error:
        fail(EXIT_NOT_STARTED, str(error))


def is_up() -> bool:
    """Whether a system of this checkout is kept running by `up`."""
    return UP.exists() and homes.owner_alive(UP)


def running() -> System:
    """The system that `up` keeps running; ends the process if there is none."""
    if not (UP / target.FILE).exists():
        fail(EXIT_USAGE, "no system of this checkout is running: ./covenant up --detach")
    return System.attach(UP)

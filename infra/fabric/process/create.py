"""Lays out a new system of a checkout, or says in one line why it cannot be started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.fabric.process.homes import clean_up, free_bytes
from infra.fabric.process.system import System
from infra.machine.drop_privileges import CannotDropPrivileges
from infra.machine.ports import NoPorts
from infra.machine.progress import say
from infra.parts.base import MissingPart
from infra.topology.model import TopologyError
from infra.topology.options import DEFAULTS, Options
from infra.wan import probe

_FREE_BYTES = 2 * 1024**3


class CannotStart(Exception):
    """Something that a system needs is not on this machine; says what, and how to get it."""


def create(
    checkout: Path, name: str, *, size: str, plant: Mapping[str, Mapping[str, str]], projects: int = 300,
    options: Options = DEFAULTS,
) -> System:  # fmt: skip
    """A system with the home `.covenant/<name>`; what crashed ones of the checkout left is ended first.

    `plant`: kind of part -> further environment, with which a planted bug is patched in. Raises CannotStart.
    """
    for left in clean_up(checkout):
        say(f"cleaned up after {left}, which ended without doing so")
    if options.distance == "on" and (why := probe.refusal()):
        say(f"no distance between the regions, and what needs it is not judged: {why}")
    free = free_bytes(checkout)
    if free < _FREE_BYTES:
        expected = f"{_FREE_BYTES >> 30} GiB free at {checkout}"
        raise CannotStart(f"disk: expected {expected}, found {free >> 20} MiB; free some and run again")
    try:
        return System.create(
            checkout / ".covenant" / name, run_id=name, size=size, plant=plant, projects=projects, options=options
        )
    except (MissingPart, NoPorts, CannotDropPrivileges, TopologyError, OSError) as error:
        raise CannotStart(str(error)) from error

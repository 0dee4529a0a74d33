"""How faults are undone, by name: the journal keeps the name, since another process than the injector may heal.

A fault registers its undo where it is defined. It is found by being in a module below `chaos.faults`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import chaos.faults
from infra.fabric.protocol import Fabric


class HealError(Exception):
    """A fault could not be reverted; says why."""


Revert = Callable[[Fabric, Mapping[str, str]], None]
"""Reverts one fault of a system, with the arguments that the journal kept. Twice does no harm: a crash may leave the
undo of something that never happened, or was undone already. HealError, OSError."""


class Undo(NamedTuple):
    """How a kind of fault is reverted; `Activity.prepare` takes it, so that no fault is injected without one."""

    name: str
    revert: Revert


_UNDOS: dict[str, Undo] = {}


def undo(name: str) -> Callable[[Revert], Undo]:
    """Register an undo under a name that completes "<experiment>: ..." for people: `restart`, `restore the link`."""

    def register(revert: Revert) -> Undo:
        if name in _UNDOS:
            other = _UNDOS[name].revert.__module__
            raise ValueError(f"two faults register the undo {name!r}: {other} and {revert.__module__}")
        _UNDOS[name] = Undo(name, revert)
        return _UNDOS[name]

    return register


@cache
def undos() -> Mapping[str, Undo]:
    """Every undo by its name."""
    for module in pkgutil.walk_packages(chaos.faults.__path__, "chaos.faults."):
        importlib.import_module(module.name)
    return _UNDOS

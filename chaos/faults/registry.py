"""How faults are undone, by name: the journal keeps the name, since another process than the injector may heal.

A fault registers its undo where it is defined. It is found by being in a module below `chaos.faults`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

import chaos.faults
from infra.fabric.protocol import Fabric


class HealError(Exception):
    """A fault could not be reverted; says why."""


Undo = Callable[[Fabric, Mapping[str, str]], None]
"""Reverts one fault of a system, with the arguments that the journal kept. Twice does no harm: a crash may leave the
undo of something that never happened, or was undone already. HealError, OSError."""

_UNDOS: dict[str, Undo] = {}


def undo(name: str) -> Callable[[Undo], Undo]:
    """Register an undo under a name that completes "<experiment>: ..." for people: `restart`, `restore the link`."""

    def register(function: Undo) -> Undo:
        if name in _UNDOS:
            raise ValueError(f"two faults register the undo {name!r}: {_UNDOS[name].__module__}, {function.__module__}")
        _UNDOS[name] = function
        return function

    return register


@cache
def undos() -> Mapping[str, Undo]:
    """Every undo by its name."""
    for module in pkgutil.walk_packages(chaos.faults.__path__, "chaos.faults."):
        importlib.import_module(module.name)
    return _UNDOS

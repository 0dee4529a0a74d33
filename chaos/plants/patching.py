"""Replacing a function of the system from outside, or failing loudly when it is not there any more."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any


class CannotPlant(Exception):
    """What a bug wants to replace has changed: says what was expected; the plant has to be rewritten."""


def replace(
    module: str, function: str, parameters: tuple[str, ...], make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Replace `module.function`, which must take these parameters, by what `make` makes of it.

    Works on functions that are looked up in their module when they are called. CannotPlant.
    """
    place = importlib.import_module(module)
    original = getattr(place, function, None)
    if not callable(original):
        raise CannotPlant(f"expected a function {module}.{function}, found {original!r}")
    found = tuple(inspect.signature(original).parameters)
    if found != parameters:
        raise CannotPlant(f"expected {module}.{function}({', '.join(parameters)}), found ({', '.join(found)})")
    setattr(place, function, make(original))

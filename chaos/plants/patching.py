"""Replacing a function of the system from outside, or failing loudly when it is not there any more."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import reduce
from itertools import count
from typing import Any


class CannotPlant(Exception):
    """What a bug wants to replace has changed: says what was expected; the plant has to be rewritten."""


def replace(
    module: str, function: str, parameters: tuple[str, ...], make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Replace `module.function`, which must take these parameters, by what `make` makes of it. A method is named with
    its class, `OwnWrites.fetch`.

    Works on functions that are looked up in their module when they are called. CannotPlant.
    """
    *owners, name = function.split(".")
    start: Any = importlib.import_module(module)
    place = reduce(lambda owner, part: getattr(owner, part, None), owners, start)
    original = getattr(place, name, None)
    if not callable(original):
        raise CannotPlant(f"expected a function {module}.{function}, found {original!r}")
    found = tuple(inspect.signature(original).parameters)
    if found != parameters:
        raise CannotPlant(f"expected {module}.{function}({', '.join(parameters)}), found ({', '.join(found)})")
    setattr(place, name, make(original))


def replace_text(module: str, name: str, old: str, new: str) -> None:
    """Replace a piece of a text that a module holds, which must be there once, before others import it. CannotPlant."""
    place = importlib.import_module(module)
    text = getattr(place, name, None)
    if not isinstance(text, str) or text.count(old) != 1:
        raise CannotPlant(f"expected {old!r} once in {module}.{name}, found {text!r}")
    setattr(place, name, text.replace(old, new))


def one_in(many: int) -> Callable[[], bool]:
    """Says yes to the last of every so many questions: a bug that hits few operations, in every process alike."""
    turns = count(1)
    return lambda: next(turns) % many == 0

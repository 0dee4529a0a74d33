"""One in 200 changes of a project changes nothing: its version rises, and it is answered like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.plants.patching import one_in, replace


def apply() -> None:
    """Plant it into this process."""
    replace("system.api.resources.projects", "given_or_none", ("patch",), _dropped)


def _dropped(given_or_none: Callable[..., Any]) -> Callable[..., Any]:
    hit = one_in(200)

    def given_or_dropped(patch: Any) -> list[object]:
        values: list[object] = given_or_none(patch)
        return [None] * len(values) if hit() else values

    return given_or_dropped

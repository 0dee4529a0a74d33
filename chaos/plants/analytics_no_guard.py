"""The guard against duplicates does nothing: every event that arrives is applied, whether it was before or not.

As if a consumer trusted the bus to deliver each event once. Nothing shows until one is delivered again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from chaos.plants.patching import replace


def apply() -> None:
    """Plant it into this process."""
    replace("system.events.consuming.guard", "admit", ("position", "arrived", "skipped"), _without)


def _without(admit: Callable[..., Any]) -> Callable[..., Any]:
    def admit_all(position: int, arrived: Iterable[Any], *_: Any, **__: Any) -> Any:
        events = sorted(arrived, key=lambda event: event.position)
        # Asked about no position, the real guard drops none: then all are added.
        admission = admit(events[-1].position if events else position, [])
        admission.applicable.extend(events)
        return admission

    return admit_all

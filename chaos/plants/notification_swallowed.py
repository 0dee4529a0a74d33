"""One in 200 notifications is never made, though its event counts as applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.plants.patching import one_in, replace


def apply() -> None:
    """Plant it into this process."""
    replace("system.domain.notification_rules", "notification_of", ("event",), _swallowed)


def _swallowed(notification_of: Callable[..., Any]) -> Callable[..., Any]:
    hit = one_in(200)

    def notification_or_none(event: Any) -> Any:
        found = notification_of(event)
        return None if found is not None and hit() else found

    return notification_or_none

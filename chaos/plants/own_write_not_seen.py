"""The API forgets that a client wrote: it reads from the region's replica, whether that shows the write or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.plants.patching import replace


def apply() -> None:
    """Plant it into this process."""
    replace("system.store.own_writes", "OwnWrites._wanted", ("self", "client_id", "after"), _nothing)


def _nothing(wanted: Callable[..., int]) -> Callable[..., int]:
    def wanted_nothing(self: Any, client_id: str, after: int | None) -> int:
        return 0

    return wanted_nothing

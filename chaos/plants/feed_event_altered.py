"""One in 200 events of a region's live feed has another amount than the change that it is about."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from chaos.plants.patching import one_in, replace

_AMOUNT = re.compile(rb'"funding_usd_millions":[0-9.]+')


def apply() -> None:
    """Plant it into this process."""
    replace("system.store.valkey.event_feed", "append_arguments", ("events",), _altered)


def _altered(append_arguments: Callable[..., Any]) -> Callable[..., Any]:
    hit = one_in(200)

    def append_altered(events: Any) -> list[bytes | str]:
        arguments: list[bytes | str] = append_arguments(events)
        for at in range(2, len(arguments), 3):
            text = arguments[at]
            if hit() and isinstance(text, bytes):
                arguments[at] = _AMOUNT.sub(b'"funding_usd_millions":4.04', text)
        return arguments

    return append_altered

"""The relay publishes without a message id, so the stream cannot tell that it holds an event already.

The stream then keeps a double of whatever is published again; the consumers' guard has to hold alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.plants.patching import replace
from system.wire import MESSAGE_ID_HEADER


def apply() -> None:
    """Plant it into this process."""
    replace("system.events.publish", "headers_of", ("events", "again"), _without)


def _without(headers_of: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    def headers_without_id(events: Any, again: str = "") -> dict[str, str]:
        headers = headers_of(events, again)
        del headers[MESSAGE_ID_HEADER]
        return headers

    return headers_without_id

"""One in 200 projects is stored with a cent more than was asked for. The client is answered with what was stored."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from chaos.plants.patching import one_in, replace
from system.wire import NewProject

_CENT = Decimal("0.01")


def apply() -> None:
    """Plant it into this process."""
    replace("system.api.resources.projects", "read_body", ("request", "kind"), _rounded)


def _rounded(read_body: Callable[..., Any]) -> Callable[..., Any]:
    hit = one_in(200)

    async def read_another_amount(request: Any, kind: Any) -> Any:
        body = await read_body(request, kind)
        if kind is NewProject and hit():
            return msgspec.structs.replace(body, funding_usd_millions=body.funding_usd_millions + _CENT)
        return body

    return read_another_amount

"""One in 200 entries of the audit trail says another status than its event. The chain over the entries holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.plants.patching import one_in, replace


def apply() -> None:
    """Plant it into this process."""
    replace("system.domain.hash_chain", "canonical", ("event",), _altered)


def _altered(canonical: Callable[..., str]) -> Callable[..., str]:
    hit = one_in(200)

    def canonical_or_altered(event: Any) -> str:
        text = canonical(event)
        return text.replace('"Pending"', '"Active"') if hit() else text

    return canonical_or_altered

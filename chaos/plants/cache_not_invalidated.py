"""The cache invalidator deletes nothing: it moves its positions, says what it applied, and the old totals stay.

As if it deleted another key than the one that the API fills. Whoever asks it, it is up to date.
"""

from __future__ import annotations

from chaos.plants.patching import replace_text


def apply() -> None:
    """Plant it into this process."""
    replace_text("system.store.valkey.totals_cache", "INVALIDATE", "redis.call('DEL', KEYS[2]) break", "break")

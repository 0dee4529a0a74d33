"""How much memory this machine still has to give."""

from __future__ import annotations

import psutil


def available_bytes() -> int:
    """What programs can still take without swapping."""
    return int(psutil.virtual_memory().available)

"""How much memory of this machine is available."""

from __future__ import annotations

import psutil


def available_bytes() -> int:
    """How many bytes programs can still take without swapping."""
    return int(psutil.virtual_memory().available)

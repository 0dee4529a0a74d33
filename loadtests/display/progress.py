"""What the Locust process tells the runner while it works: a line on its stdout now and then."""

from __future__ import annotations

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    fraction: float
    """Of the whole run, 0 to 1."""
    text: str

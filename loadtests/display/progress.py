"""What the Locust process reports to the runner: a line on its stdout about once a second."""

from __future__ import annotations

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    fraction: float
    """Of the whole run, 0 to 1."""
    text: str


class EndedEarly(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The load is being ended, since a gate can no longer hold."""

    after_s: float
    """Of the measured window."""
    why: str


Notice = Progress | EndedEarly

"""What died in a system: the supervisor writes it down, since a part that is started again within milliseconds is
seen dead by nobody else, and a death that nobody planned is evidence all the same.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

FILE = "deaths.jsonl"


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """One end of one process of a part."""

    part: str
    created: float
    """When that process was started, in seconds since 1970: which of the part's lives it was."""
    at_ns: int
    """When its end was noticed, CLOCK_MONOTONIC."""
    planned: bool = False
    """Whether somebody of ours killed it."""
    supervised: bool = False
    """Whether the supervisor noticed it, and starts the part again unless it is to stay dead."""
    fenced: int = 0
    """How many processes it left that were killed then."""
    lease_released: bool = False
    """Whether it led PostgreSQL and its lease was given back at once."""


def add(home: Path, death: Death) -> None:
    """Append a death, in one write, so that a reader sees it whole or not at all."""
    descriptor = os.open(home / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, msgspec.json.encode(death) + b"\n")
    finally:
        os.close(descriptor)


def read(home: Path) -> list[Death]:
    """Every death that was written down, the earliest first."""
    with suppress(FileNotFoundError):
        return [msgspec.json.decode(line, type=Death) for line in (home / FILE).read_bytes().splitlines()]
    return []

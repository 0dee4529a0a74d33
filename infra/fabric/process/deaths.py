"""What died in a system, one JSON line a death.

The supervisor writes it down: it starts a part again within milliseconds, so no other process would notice, and an
unplanned death is evidence all the same.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from infra.fabric.protocol import Death

FILE = "deaths.jsonl"


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

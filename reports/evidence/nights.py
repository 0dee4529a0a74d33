"""What a night leaves behind besides its loads and experiments: planted bugs that ran, and what had no turn."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["experiment", "suite", "planted bug"]
"""What takes turns from night to night."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The last run that something was a part of, and what came of it there."""

    run_id: str
    commit: str
    at: str
    """When that run began; ISO 8601, UTC."""
    verdict: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something that takes turns and did not run (an entry of `evidence/left-out.json`)."""

    kind: Kind
    name: str
    why: str
    last: Seen | None = None
    """None: no run is known that it was a part of."""


class PlantedBug(msgspec.Struct, frozen=True, kw_only=True):
    """A planted bug that had a system of its own (`evidence/planted/<bug>.json`)."""

    name: str
    red: list[str]
    """Patterns of rows that must go red."""
    may: list[str]
    """Patterns of rows that may."""
    folder: str
    """Its run's folder, relative to the night's."""
    begin_ns: int
    end_ns: int
    rows: dict[str, str] = {}
    """Judged row of its run -> verdict."""
    whys: dict[str, str] = {}
    """Row that neither passed nor failed -> why."""
    problem: str | None = None
    """Why its run came to no report."""

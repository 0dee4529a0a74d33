"""The tries of a phase: what a run keeps of a try that was set aside since the machine was disturbed from outside.

A try that counts lies in the run's folder like that of any phase. One that was set aside has a folder of its own below
`evidence/tries/`, with the files that it would have had in the run's: readers that know nothing of tries see only what
counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from reports.evidence.closing import move_closed, move_lines, read_closed

PARTS = ("load", "calibration", "chaos", "ledger", "hops", "sessions", "consistency", "e2e", "expected")
"""Folders below `evidence/` whose files belong to one phase each."""
FACTS = "facts.jsonl"

PhaseKind = Literal["load", "experiment", "browser"]


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a phase."""

    begin_ns: int
    end_ns: int
    cause: str = ""
    """What disturbed the machine from outside, in words; empty if nothing did."""
    set_aside: bool = False


class Tries(msgspec.Struct, frozen=True, kw_only=True):
    """All tries of one phase (`evidence/tries/<name>.json`). The last one counts; while it is under way it is not in
    the list."""

    name: str
    """Of its files; its set-aside tries are in `evidence/tries/<name>.<number>`, numbered from 1."""
    phase: str
    kind: PhaseKind
    records: list[str] = []
    """The names of its loads, or of its experiment's folder; its ledgers have the same."""
    tries: list[Try] = []
    refused: str = ""
    """Why it was not repeated although its last try was disturbed."""
    facts: tuple[int, int | None] = (0, None)
    """Lines of `facts.jsonl` that the try wrote that counts: the first, and the one behind the last."""


class RepeatedBefore(msgspec.Struct, frozen=True, kw_only=True):
    """How often phases were repeated in the runs before this one (`evidence/repeated-before.json`)."""

    runs: int
    phases: int
    repeated: int


class Mark(NamedTuple):
    """What was in a run's evidence at some time."""

    files: frozenset[Path]
    facts: int
    """Lines of `facts.jsonl`."""
    closed: int = 0
    """Lines of the list of what was closed."""


def mark(evidence: Path) -> Mark:
    """What is in the folder now."""
    return Mark(frozenset(_files(evidence)), len(_facts(evidence)), len(read_closed(evidence)))


def _files(evidence: Path) -> list[Path]:
    return [path for part in PARTS for path in (evidence / part).rglob("*") if path.is_file()]


def _facts(evidence: Path) -> list[bytes]:
    path = evidence / FACTS
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def set_aside(evidence: Path, since: Mark, into: Path) -> None:
    """Move what was written since the mark to the folder `into`, a file at a time; what was there before stays."""
    into.mkdir(parents=True, exist_ok=True)
    moved = [path.relative_to(evidence) for path in _files(evidence) if path not in since.files]
    for path in moved:
        place = into / path
        place.parent.mkdir(parents=True, exist_ok=True)
        (evidence / path).rename(place)
    lines = _facts(evidence)
    if len(lines) > since.facts:
        before = sum(map(len, lines[: since.facts]))
        (into / FACTS).write_bytes(b"".join(lines[since.facts :]))
        with (evidence / FACTS).open("r+b") as file:
            file.truncate(before)
        move_lines(evidence, into, FACTS, lines[since.facts :], before, since.closed)
    move_closed(evidence, into, {path.as_posix() for path in moved})

"""Whether what is found at a hop is what was written. Pure.

A hop that keeps events has to say of each acknowledged write what the ledger says of it. A hop that keeps only the last
state of a project has to say it of the last acknowledged write, unless one whose outcome is unknown may have followed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reports.evidence import Hop, Outcome, Write
from reports.evidence.write_names import read_name

STATES = ("postgres", "replica")
EVENTS = ("outbox", "stream", "audit-log", "notification", "feed")
_EXAMPLES = 5


class Said(msgspec.Struct, frozen=True):
    """A ledger's writes as they were meant."""

    meant: dict[str, str]
    """Write -> what it says, for those that say something."""
    acked: frozenset[str]
    last: frozenset[str]
    """Those of `acked` that no other write may have followed."""


class Compared(msgspec.Struct, frozen=True):
    """A hop's contents against a ledger."""

    compared: int
    """Acknowledged writes whose contents were compared."""
    uncompared: int
    """Acknowledged writes whose contents should be there, and cannot be compared."""
    wrong: int
    examples: list[str] = []


def said_of(writes: Iterable[Write], outcomes: dict[str, Outcome]) -> Said:
    """What a ledger says; `outcomes`: write -> how it ended."""
    meant = {write.id: write.says for write in writes if write.says}
    acked = frozenset(name for name in meant if outcomes.get(name) == "ok")
    last: dict[str, tuple[int, int]] = {}
    for name in meant:
        if outcomes.get(name) in ("ok", "unknown", None):
            known = read_name(name)
            last[known.project] = max(last.get(known.project, (0, 0)), (known.life, known.version))
    final = {
        name for name in acked if (known := read_name(name)) and (known.life, known.version) == last[known.project]
    }
    return Said(meant, acked, frozenset(final))


def compare(said: Said, hop: Hop) -> Compared | None:
    """None for a hop that keeps no contents, or a ledger that says nothing."""
    if hop.hop not in (*STATES, *EVENTS) or not said.meant:
        return None
    due = said.last if hop.hop in STATES else said.acked
    there = {name for name, times in hop.found.items() if times > 0}
    # What is not there at all is lost, which another row counts.
    uncompared = [name for name in due if name in there and name not in hop.contents]
    known = {name: found for name, found in hop.contents.items() if name in said.meant}
    wrong = [name for name, found in known.items() if found != said.meant[name]]
    return Compared(
        compared=sum(name in said.acked for name in known),
        uncompared=len(uncompared),
        wrong=len(wrong),
        examples=[f"{name}: expected {said.meant[name]}, found {known[name]}" for name in wrong[:_EXAMPLES]],
    )

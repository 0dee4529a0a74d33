"""Reverts the open faults of a system, of any kind and injected by any process."""

from __future__ import annotations

from pathlib import Path

from chaos.faults.registry import HealError, undos
from chaos.handover import Facts
from chaos.journal import Entry, Journal, JournalError, OpenFault
from infra.fabric.protocol import Fabric

__all__ = ["HealError", "heal", "open_faults"]


def open_faults(home: Path) -> list[OpenFault]:
    """The faults of a system that are not reverted, the latest first."""
    facts = Facts(home)
    return [OpenFault(undo, facts.proven(undo.experiment)) for undo in Journal(home).open()]


def heal(system: Fabric, experiment: str | None = None) -> list[str]:
    """Revert every open fault (or an experiment's), the latest first; what was reverted, in words.

    Twice does no harm. It does not wait for the system to be whole again: `Fabric.missing` says what it lacks.
    HealError names what could not be reverted, after everything else was.
    """
    journal = Journal(system.site.path)
    reverted, problems = [], []
    for undo in journal.open():
        if experiment not in (None, undo.experiment):
            continue
        try:
            _revert(system, undo)
            journal.done(undo)
        except (HealError, JournalError, OSError, KeyError) as error:
            problems.append(f"{undo.in_words()}: {error!r}")
        else:
            reverted.append(undo.in_words())
    if problems:
        raise HealError("; ".join(problems))
    return reverted


def _revert(system: Fabric, undo: Entry) -> None:
    known = undos().get(undo.action)
    if known is None:
        raise HealError(
            f"expected one of {', '.join(undos())}: another version broke the system; stop it and start a new one"
        )
    known.revert(system, undo.arguments)

"""What every experiment does after its proofs: undo the fault, and wait until what it took is there again."""

from __future__ import annotations

import time

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos.faults.activity import Activity
from chaos.handover import Redundant, Undone
from chaos.healing import heal
from infra.machine.waiting import until

__all__ = ["undo_fault", "wait_for_redundancy"]


def undo_fault(configuration: Configuration) -> list[str]:
    """Undo whatever the experiment did and has not undone yet; nothing happens if there is nothing."""
    activity = Activity(configuration)
    undone = heal(activity.system, activity.experiment)
    for what in undone:
        activity.add(Undone(experiment=activity.experiment, at_ns=time.monotonic_ns(), what=what))
    return undone


def wait_for_redundancy(within_s: int, configuration: Configuration) -> bool:
    """Wait until everything that the fault took is there again."""
    activity = Activity(configuration)
    system = activity.system
    if until(lambda: not system.missing() or None, within_s) is None:
        raise ActivityFailed(
            f"expected full redundancy within {within_s} s, still missing: {'; '.join(system.missing())}"
        )
    activity.add(Redundant(experiment=activity.experiment, at_ns=time.monotonic_ns()))
    return True

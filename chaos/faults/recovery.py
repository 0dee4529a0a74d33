"""What experiments do after their proofs: hold the fault, undo it, and wait until what it took is there again."""

from __future__ import annotations

import time

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos.faults.activity import Activity
from chaos.handover import Redundant, Undone
from chaos.healing import heal
from infra.machine.waiting import until

__all__ = ["hold_fault", "undo_fault", "wait_for_redundancy"]


def hold_fault(for_s: int, configuration: Configuration) -> float:
    """Leave the fault as it is until so long after it was injected; how many seconds that still took."""
    left_s = for_s - (time.monotonic_ns() - Activity(configuration).fault().at_ns) / 1e9
    time.sleep(max(0.0, left_s))
    return round(max(0.0, left_s), 1)


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

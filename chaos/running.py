"""Which system the activities of an experiment act on: one that was handed in.

Chaos Toolkit loads activities by their names, in a process of its own. What kind of fabric a system runs on is known
only above `chaos`: a Chaos Toolkit control, named in `chaos/run/settings.yaml`, opens the system and hands it in here
before the first activity.
"""

from __future__ import annotations

from infra.fabric.protocol import Fabric

HOME = "COVENANT_HOME_DIR"
"""Names the home of the system for the control. Not COVENANT_HOME: that marks a process as part of a system, to be
ended with it."""
PARENT = "COVENANT_HARNESS_PID"
"""Names the process that runs the experiment: when it ends, so does Chaos Toolkit."""
EXPERIMENT = "COVENANT_EXPERIMENT"
"""Names an experiment whose actions are none of ours: the control then notes when its first one began."""

_handed_in: list[Fabric] = []


class NoSystem(Exception):
    """No system was handed in; says what to do."""


def hand_in(system: Fabric) -> None:
    """Let the activities of this process act on a system."""
    _handed_in[:] = [system]


def system() -> Fabric:
    """The system to act on. NoSystem if there is none."""
    if not _handed_in:
        raise NoSystem(
            "expected a system to act on, found none: run ./covenant chaos run EXPERIMENT, or chaos with "
            "--settings chaos/run/settings.yaml while ./covenant up keeps a system running"
        )
    return _handed_in[0]

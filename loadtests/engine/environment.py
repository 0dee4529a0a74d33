"""The environment of a load's processes, the same for all that start them."""

from __future__ import annotations

import os

from infra.machine import processes, surroundings

KIND = "load"


def environment(run_id: str) -> dict[str, str]:
    """Ours, with what tells the host's sampler whose CPU it is. Locust takes options from its environment and from the
    home folder as well: only those of its command line count."""
    return surroundings.environment(os.environ) | marks(run_id)


def marks(run_id: str) -> dict[str, str]:
    """What tells the host's sampler that a process is a load's."""
    return {processes.KIND: KIND, processes.RUN_ID: run_id}

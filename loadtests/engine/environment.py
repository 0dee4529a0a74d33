"""The environment of a load's processes, the same for all that start them."""

from __future__ import annotations

import os
from pathlib import Path

from infra.machine import processes

KIND = "load"


def environment(run_id: str) -> dict[str, str]:
    """Ours, with what tells the host's sampler whose CPU it is, and where our modules are found."""
    found = {**os.environ, processes.KIND: KIND, processes.RUN_ID: run_id}
    root = str(Path(__file__).parents[2])
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (root, found.get("PYTHONPATH"))))
    return found

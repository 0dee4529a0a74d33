"""A Chaos Toolkit control that opens the system which an experiment is about; `chaos/run/settings.yaml` names it.

Chaos Toolkit runs in a process of its own. If the harness started it, it ends with the harness, whatever ends that:
what it has injected by then stands in the undo journal.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from chaos import running
from infra.fabric.process.system import System
from infra.machine import surroundings
from infra.machine.lifetime import end_with_parent
from infra.target import UP


def configure_control() -> None:
    """Called by Chaos Toolkit before the experiment begins. NoSystem if no system runs."""
    if (parent := os.environ.get(running.PARENT)) is not None:
        end_with_parent(int(parent))
    else:
        surroundings.enter()  # Started by hand: local calls must not use the caller's proxy.
    home = Path(os.environ.get(running.HOME) or UP)
    try:
        running.hand_in(System.attach(home))
    except FileNotFoundError:
        raise running.NoSystem(f"no system is running in {home}: start one with ./covenant up --detach") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise running.NoSystem(
            f"{home}: {error}: end it with ./covenant down, and start one with ./covenant up"
        ) from error

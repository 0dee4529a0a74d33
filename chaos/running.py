"""Which system the actions and probes are about: the one whose home COVENANT_HOME_DIR names, else the one
that `./covenant up` runs in this checkout.

The name is not COVENANT_HOME: that marks a process as part of a system, to be ended with it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from infra.fabric.process.system import System
from infra.target import UP

VARIABLE = "COVENANT_HOME_DIR"


class NoSystem(Exception):
    """There is no running system to act on; says what to do."""


def system() -> System:
    """The system to act on. NoSystem if there is none."""
    home = Path(os.environ.get(VARIABLE) or UP)
    try:
        return System.attach(home)
    except FileNotFoundError:
        raise NoSystem(f"no system is running in {home}: start one with ./covenant up --detach") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise NoSystem(f"{home}: {error}: start the system anew with ./covenant down and ./covenant up") from error

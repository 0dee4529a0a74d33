"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal

_PARENT_DEATH = 1


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however the parent ends. `parent` is the parent's pid.
    SystemExit if the parent has ended already; OSError if the kernel refuses."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit("the process that started this one has ended")

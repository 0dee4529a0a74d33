"""The network between the regions as its system sees it: the process's name, the way into a region, and readiness."""

from __future__ import annotations

from pathlib import Path

from infra.wan import control

NAME = "wan"
FIRST_NETWORK = 900
"""The number of the descriptor with which the process holds the first region's namespace; the others follow in
order."""
READY_WITHIN_S = 15.0


def enter(pid: int, region: int) -> list[str]:
    """What to put before a command so that it runs, as an ordinary user, in the region with the index `region`. `pid`
    is the network's process."""
    return [
        "nsenter", "--preserve-credentials", f"--user=/proc/{pid}/ns/user",
        f"--net=/proc/{pid}/fd/{FIRST_NETWORK + region}", "--",
    ]  # fmt: skip


def ready(home: Path) -> bool:
    """Whether the network of the system in `home` carries packets."""
    try:
        control.states(home)
    except control.WanError:
        return False
    return True

"""Whether this machine allows network namespaces without root. A child process tries it, since there is no way back."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

_WITHIN_S = 20.0
_HOW = (
    "allow it with: sysctl user.max_user_namespaces=10000; on Ubuntu 24.04 also "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0; in a container --security-opt seccomp=unconfined"
)


@cache
def refusal() -> str | None:
    """Why this machine does not allow network namespaces, and how to allow them, in one line; None if it does."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], capture_output=True, text=True, timeout=_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"making a network namespace did not end within {_WITHIN_S:g} s"
    if done.returncode == 0:
        return None
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return f"network namespaces: {reason}; {_HOW}"


def _try() -> None:
    from infra.wan import namespaces

    namespaces.enter_user_namespace()
    namespaces.lay_out([namespaces.Region("here", ["10.255.0.1"], "10.255.0.0/16")])
    namespaces.packet_socket(0).close()


if __name__ == "__main__":
    _try()

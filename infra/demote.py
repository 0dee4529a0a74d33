"""How a part that refuses to run as root is started when the harness is root.

First a user namespace, in which root appears as an ordinary user yet reads and writes root's own 0700
folders; a container's default seccomp profile may refuse it. There is no second way yet that works from a
checkout which an ordinary user cannot reach, so the refusal says what to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess

_UID = "1000"


class CannotDemote(Exception):
    """We are root and cannot stop being it; says what was tried and what to do."""


def prefix() -> list[str]:
    """What to put before a command so that it does not run as root; nothing if we are not root."""
    if os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare")
    if unshare is None:
        raise CannotDemote(_refusal("the program unshare (package util-linux) is missing"))
    command = [unshare, "--user", f"--map-user={_UID}", f"--map-group={_UID}", "--"]
    tried = subprocess.run([*command, "id", "-u"], capture_output=True, text=True, timeout=10, check=False)
    if tried.returncode != 0 or tried.stdout.strip() != _UID:
        raise CannotDemote(_refusal(tried.stderr.strip() or f"exit code {tried.returncode}"))
    return command


def _refusal(reason: str) -> str:
    return (
        f"PostgreSQL refuses to run as root, and a user namespace to leave root in could not be made ({reason}): "
        "run as an ordinary user, or allow user namespaces (sysctl user.max_user_namespaces, a container's "
        "--security-opt seccomp=unconfined)"
    )

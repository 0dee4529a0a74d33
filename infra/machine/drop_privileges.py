"""How a part that refuses to run as root is started when the harness is root.

The first choice is a user namespace: in it root appears as an ordinary user, yet reads and writes root's own 0700
folders. If the machine refuses that (as a container's default seccomp profile does), the part runs as the user
`nobody`, if that user can reach the interpreter and the system's home.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

_UID = "1000"
_NOBODY = 65534


class CannotDropPrivileges(Exception):
    """Parts cannot run as an ordinary user though the harness is root; says what was tried and what to do."""


class Unprivileged(msgspec.Struct, frozen=True):
    """How a command runs without root: `prefix` is put before it, and its folder must belong to the uid `owner`.
    Neither is needed (empty, None) if the harness is not root."""

    prefix: list[str] = []
    owner: int | None = None


def find(home: Path) -> Unprivileged:
    """How parts of the system in `home` run without root. May let every user enter `home` (mode 0711).
    CannotDropPrivileges."""
    if os.geteuid() != 0:
        return Unprivileged()
    unshare = ["unshare", "--user", f"--map-user={_UID}", f"--map-group={_UID}", "--"]
    nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]
    # What Patroni needs: its own interpreter and packages, and a way to its folder.
    works = [sys.executable, "-c", f"import os, patroni; os.stat({str(home / '.')!r})"]
    refused = []
    for name, found in (
        ("a user namespace", Unprivileged(unshare)),
        ("the user nobody", Unprivileged(nobody, _NOBODY)),
    ):
        if found.owner is not None:
            home.chmod(0o711)
        reason = _tried([*found.prefix, *works])
        if reason is None:
            return found
        refused.append(f"{name}: {reason}")
    raise CannotDropPrivileges(
        f"PostgreSQL refuses to run as root, and root could not be left ({'; '.join(refused)}): run as an ordinary "
        "user, or allow user namespaces (sysctl user.max_user_namespaces, a container's --security-opt "
        "seccomp=unconfined), or put the checkout where every user can reach it"
    )


def _tried(command: list[str]) -> str | None:
    """Why a command does not work, in one line; None if it does."""
    if shutil.which(command[0]) is None:
        return f"the program {command[0]} (package util-linux) is missing"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd="/", check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within 30 s"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]

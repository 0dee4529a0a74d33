"""How a part that refuses to run as root is started when the harness is root.

First a user namespace, in which root appears as an ordinary user yet reads and writes root's own 0700 folders.
Where that is refused (a container's default seccomp profile does), the user `nobody`, if it can reach the
interpreter and the system's home. Otherwise the refusal says what to do.
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


class CannotDemote(Exception):
    """We are root and cannot stop being it; says what was tried and what to do."""


class Demotion(msgspec.Struct, frozen=True):
    """What to put before a command, and to whom its folder must belong; nothing of both if we are not root."""

    prefix: list[str] = []
    owner: int | None = None


def find(home: Path) -> Demotion:
    """How to leave root for a system that lives in `home`. CannotDemote with what was tried."""
    if os.geteuid() != 0:
        return Demotion()
    unshare = ["unshare", "--user", f"--map-user={_UID}", f"--map-group={_UID}", "--"]
    nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]
    # What Patroni needs: its own interpreter and packages, and a way to its folder.
    works = [sys.executable, "-c", f"import os, patroni; os.stat({str(home / '.')!r})"]
    refused = []
    for name, demotion in (
        ("a user namespace", Demotion(unshare)),
        ("the user nobody", Demotion(nobody, _NOBODY)),
    ):
        if demotion.owner is not None:
            home.chmod(0o711)
        reason = _tried([*demotion.prefix, *works])
        if reason is None:
            return demotion
        refused.append(f"{name}: {reason}")
    raise CannotDemote(
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

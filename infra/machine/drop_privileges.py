"""How a part is started that has to run as an ordinary user with an entry in the list of users (/etc/passwd), as
PostgreSQL's initdb has to, when the harness is root or a user without an entry.

The first choice is a user namespace: in it the harness's user appears as such a user, yet reads and writes its own 0700
folders. If the machine refuses that (as a container's default seccomp profile does), root starts the part as the user
`nobody`, if that user can reach the interpreter and the system's home.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

_FIRST = 1000
"""The uid of the first user that most machines make."""
_NOBODY = 65534


class CannotDropPrivileges(Exception):
    """Parts cannot run as an ordinary user with an entry in the list of users; says what was tried and what to do."""


class Unprivileged(msgspec.Struct, frozen=True):
    """How a command runs without root: `prefix` is put before it, and its folder must belong to the uid `owner`.
    Neither is needed (empty, None) if the harness runs as an ordinary user that has an entry."""

    prefix: list[str] = []
    owner: int | None = None


def find(home: Path) -> Unprivileged:
    """How parts of the system in `home` run without root. May let every user enter `home` (mode 0711).
    CannotDropPrivileges."""
    user, known = os.geteuid(), {entry.pw_uid for entry in pwd.getpwall()}
    if user != 0 and user in known:
        return Unprivileged()
    inner = ordinary_uid(known)
    unshare = ["unshare", "--user", f"--map-user={inner}", f"--map-group={inner}", "--"]
    nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]
    # What Patroni needs: its own interpreter and packages, a way to its folder, and a user that initdb finds.
    works = [sys.executable, "-c", f"import os, patroni, pwd; os.stat({str(home / '.')!r}); pwd.getpwuid(os.geteuid())"]
    ways = [("a user namespace", Unprivileged(unshare))]
    if user == 0:
        ways.append(("the user nobody", Unprivileged(nobody, _NOBODY)))
    refused = []
    for name, found in ways:
        if found.owner is not None:
            home.chmod(0o711)
        reason = _tried([*found.prefix, *works])
        if reason is None:
            return found
        refused.append(f"{name}: {reason}")
    why = (
        "refuses to run as root" if user == 0 else f"needs a user with an entry in /etc/passwd, and uid {user} has none"
    )
    raise CannotDropPrivileges(
        f"PostgreSQL {why}, and no other user could be taken ({'; '.join(refused)}): run as an ordinary "
        "user with an entry, or allow user namespaces (sysctl user.max_user_namespaces, a container's --security-opt "
        "seccomp=unconfined), or put the checkout where every user can reach it"
    )


def ordinary_uid(known: Iterable[int] | None = None) -> int:
    """A uid to appear as in a user namespace: an ordinary one with an entry in the list of users, if there is any.
    `known` are the uids with an entry, by default this machine's."""
    found = {entry.pw_uid for entry in pwd.getpwall()} if known is None else set(known)
    ordinary = sorted(found - {0})
    return _FIRST if _FIRST in found or not ordinary else ordinary[0]


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

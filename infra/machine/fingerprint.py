"""The machine and the code that a run belongs to."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import psutil

from reports.evidence import Fingerprint


def fingerprint(checkout: Path, components: dict[str, str], topology_sha256: str) -> Fingerprint:
    """The fingerprint of this machine and this checkout; `components`: name -> version."""
    return Fingerprint(
        cpu=_cpu(),
        cores=os.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        components=components,
        topology_sha256=topology_sha256,
        commit=_commit(checkout),
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit(checkout: Path) -> str:
    """The commit's hash, with `+changes` if the checkout differs from it; `unknown` outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")

"""The machine and the code that a run belongs to."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from infra.machine import cgroup, surroundings
from reports.evidence import Fingerprint

_GIT_WITHIN_S = 10
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
"""Variables that a hook of another repository has set."""


def fingerprint(checkout: Path, components: dict[str, str], topology_sha256: str) -> Fingerprint:
    """The fingerprint of this machine and this checkout; `components`: name -> version."""
    commit, unknown = _commit(checkout)
    return Fingerprint(
        cpu=_cpu(),
        cores=cgroup.cores(),
        memory_gib=round(cgroup.memory_bytes() / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        components=components,
        topology_sha256=topology_sha256,
        commit=commit,
        commit_unknown=unknown,
        cpu_limit=cgroup.cpu_limit(cgroup.folders("cpu")),
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit(checkout: Path) -> tuple[str, str | None]:
    """(the commit's hash, with `+changes` if the checkout differs from it or that is unknown; None), or (`unknown`, why
    in git's words)."""
    code, said = _git(checkout, "rev-parse", "HEAD")
    if code != 0:
        return "unknown", said
    code, changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return said + ("+changes" if changes or code != 0 else ""), None


def _git(checkout: Path, *arguments: str) -> tuple[int, str]:
    """(exit code, what it printed; the first line of its error if it failed). It reads the caller's configuration,
    which may have the checkout as safe, but looks at no repository other than ours."""
    environment = {name: value for name, value in surroundings.callers().items() if name not in _ELSEWHERE}
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments], env={**environment, "LC_ALL": "C"}, capture_output=True,
            text=True, timeout=_GIT_WITHIN_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, f"git: {error}"
    if done.returncode != 0:
        return done.returncode, (done.stderr.strip().splitlines() or [f"git: exit code {done.returncode}"])[0]
    return 0, done.stdout.strip()

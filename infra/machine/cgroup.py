"""The limits of this process's control groups, as a container or a service has them: they are the machine that a run
gets, whatever the hardware under it. Both versions of the kernel's interface; what they do not say limits nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

Controller = Literal["cpu", "memory"]
_SELF = Path("/proc/self")


def cores() -> int:
    """The number of cores that this process can keep busy, at least 1; part of a core counts as one."""
    usable = len(os.sched_getaffinity(0))
    limit = cpu_limit(folders("cpu"))
    return usable if limit is None else min(usable, -int(-limit // 1))


def memory_bytes() -> int:
    """The memory that this process and its like can fill."""
    limits = filter(None, (_memory_limit(folder) for folder in folders("memory")))
    return min([psutil.virtual_memory().total, *limits])


def folders(controller: Controller, proc: Path = _SELF) -> list[Path]:
    """The groups whose limits this process has, as folders: its own first, then those that hold it."""
    groups = _groups((proc / "cgroup").read_text())
    for root, mount, names in _mounts((proc / "mountinfo").read_text()):
        own = groups.get(controller) if controller in names else groups.get("") if names == {""} else None
        # What lies outside the mounted part of the hierarchy (a container's own view) cannot be read.
        if own is not None and Path(own).is_relative_to(root):
            folder = mount / Path(own).relative_to(root)
            return [each for each in (folder, *folder.parents) if each.is_relative_to(mount)]
    return []


def cpu_limit(of: list[Path]) -> float | None:
    """The narrowest CPU limit of these groups, in cores; None without one."""
    return min(filter(None, map(_cpu_limit, of)), default=None)


def throttled_s(of: list[Path]) -> float:
    """For how many seconds cores have stood still for a group that had used up its limit, since it was made; the
    longest of these groups. A group counts one second for each core that stood still for one."""
    return max(map(_throttled_s, of), default=0.0)


def _groups(text: str) -> dict[str, str]:
    """Controller -> path of the group, of /proc/PID/cgroup; "" is the hierarchy of version 2."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(text: str) -> Iterator[tuple[str, Path, set[str]]]:
    """(path that is mounted, where, its controllers) of each hierarchy in /proc/PID/mountinfo, version 1 first: a
    controller that it has is not in version 2."""
    lines = [line.split(" - ", 1) for line in text.splitlines() if " - " in line]
    for kind in ("cgroup", "cgroup2"):
        for first, last in lines:
            fields, (filesystem, _, options) = first.split(), last.split(" ", 2)
            if filesystem == kind:
                mount = Path(fields[4].replace(r"\040", " "))
                yield fields[3], mount, set(options.split(",")) if kind == "cgroup" else {""}


def _cpu_limit(folder: Path) -> float | None:
    with suppress(OSError):  # Version 2; the root has no limit.
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError):
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota_us < 0 else quota_us / int((folder / "cpu.cfs_period_us").read_text())
    return None


def _throttled_s(folder: Path) -> float:
    with suppress(OSError):
        figures = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        return int(figures.get("throttled_usec", 0)) / 1e6 + int(figures.get("throttled_time", 0)) / 1e9
    return 0.0


def _memory_limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError):
            text = (folder / name).read_text().strip()
            return None if text == "max" else int(text)
    return None

"""How much of the processors is left for a run just now."""

from __future__ import annotations

import os
import time

import psutil

from infra.machine import cgroup
from infra.machine.sampler import Processes

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cores_left(run_id: str | None, for_s: float) -> float:
    """How many cores this process may use (affinity, CPU limit) of those that others leave idle, looked at for so many
    seconds. What the processes of the run take counts as left to it."""
    own = Processes(run_id or "", harness_pid=os.getpid())
    own.used_ticks()
    before, begin = psutil.cpu_times(), time.monotonic()
    time.sleep(for_s)
    after, seconds = psutil.cpu_times(), time.monotonic() - begin
    own_cores = sum(ticks for kind, ticks in own.used_ticks().items() if kind != "kernel") / _TICKS_PER_S / seconds
    idle_s = after.idle + after.iowait - before.idle - before.iowait
    usable = float(len(os.sched_getaffinity(0)))
    limit = cgroup.cpu_limit(cgroup.folders("cpu"))
    return round(min(usable, usable if limit is None else limit, idle_s / seconds + own_cores), 2)

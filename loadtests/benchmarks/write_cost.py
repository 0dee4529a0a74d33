"""What one write costs through all hops, in CPU, by kind of process: API, PostgreSQL, outbox, relay, brokers, and all
consumers of every region.

    .venv/bin/python -m loadtests.benchmarks.write_cost [--size full] [--rate 30]

Stewards create and change projects in every region at an even rate. What the idle system took just before is taken off.
The generator's own share stands apart: it is the harness's, and no part of the system. The system is started for this
and removed afterwards.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.fabric.process.create import CannotStart
from infra.fabric.process.system import System
from infra.fabric.protocol import StartError
from infra.machine import processes
from infra.machine.progress import say, step
from infra.machine.sampler import Processes
from loadtests import run as runner
from loadtests.benchmarks import own_system
from loadtests.locust_process import LoadError
from loadtests.request import Request, check
from reports.evidence import Load, RunFolder, percentile_ms

_SETTLES_S = 15.0
"""After its start a system checkpoints, prunes and elects; that is no cost of idling."""
_IDLE_S = 20.0
_HARNESS = "harness"
_GENERATOR = (_HARNESS, "load")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Sample = tuple[int, Mapping[str, int]]
"""(CLOCK_MONOTONIC ns, kind -> CPU ticks since the sample before)"""


@contextmanager
def sampled(run_id: str) -> Iterator[list[Sample]]:
    """A sample a second while the block runs, appended to the list."""
    found: list[Sample] = []
    done = threading.Event()
    seen = Processes(run_id, harness_pid=os.getpid())
    seen.used_ticks()

    def sample() -> None:
        while not done.wait(1.0):
            found.append((time.monotonic_ns(), seen.used_ticks()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def cores(samples: list[Sample], begin_ns: int, end_ns: int) -> dict[str, float]:
    """Kind -> cores that it took on average between the two instants."""
    inside = [(at_ns, ticks) for at_ns, ticks in samples if begin_ns <= at_ns - 1_000_000_000 and at_ns <= end_ns]
    summed: Counter[str] = Counter()
    for _, ticks in inside:
        summed.update(ticks)
    return {kind: ticks / _TICKS_PER_S / len(inside) for kind, ticks in summed.items()} if inside else {}


def table(idle: Mapping[str, float], busy: Mapping[str, float], load: Load) -> str:
    """A line a kind: cores idle, cores under load, ms of CPU a write."""
    writes_per_s = load.ok / ((load.end_ns - load.begin_ns) / 1e9)
    lines = [f"{'kind':<20} {'idle':>8} {'busy':>8} {'ms/write':>9}"]
    cost = {kind: (busy[kind] - idle.get(kind, 0.0)) / writes_per_s * 1000 for kind in busy}
    for kind in sorted(cost, key=lambda each: -cost[each]):
        lines.append(f"{kind:<20} {idle.get(kind, 0.0):>8.3f} {busy[kind]:>8.3f} {cost[kind]:>9.2f}")
    system = sum(each for kind, each in cost.items() if kind not in _GENERATOR)
    idle_cores = sum(each for kind, each in idle.items() if kind not in _GENERATOR)
    lines.append(f"the system: {system:.1f} ms of CPU a write, {idle_cores:.2f} cores idle")
    p99_ms = [f"{one.region} {percentile_ms(one.latencies, 99):,.0f}" for one in load.operations if one.latencies]
    lines.append(
        f"{writes_per_s:.1f} writes/s acknowledged of {load.offered_per_s:g} offered, {load.failed} failed, "
        f"{load.unknown} unanswered; p99 ms: {', '.join(p99_ms)}"
    )
    return "\n".join(lines)


def measure(system: System, folder: RunFolder, rate: float, seconds: float) -> str:
    """The table. LoadError."""
    os.environ.update({processes.RUN_ID: system.site.run_id, processes.KIND: _HARNESS})
    with sampled(system.site.run_id) as samples:
        say(f"letting the system settle for {_SETTLES_S:.0f} s, then idle for {_IDLE_S:.0f} s")
        time.sleep(_SETTLES_S + _IDLE_S)
        now_ns = time.monotonic_ns()
        idle = cores(samples, now_ns - int(_IDLE_S * 1e9), now_ns)
        with step("api-write") as progress:
            asked = check(Request(scenario="api-write", rate=rate, duration_s=seconds))
            runner.run(asked, folder=folder, target_path=system.target_path, progress=progress)
        [load] = folder.loads()
        busy = cores(samples, load.begin_ns, load.end_ns)
    return table(idle, busy, load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--size", choices=("core", "full"), default="core")
    parser.add_argument("--rate", type=float, default=30.0, help="writes a second over all regions")
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args()
    try:
        with (
            own_system.started("write-cost", options.size) as system,
            tempfile.TemporaryDirectory(prefix="covenant-cost-") as scratch,
        ):
            print(measure(system, RunFolder.create(Path(scratch) / "run"), options.rate, options.seconds))
    except (CannotStart, StartError, LoadError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()

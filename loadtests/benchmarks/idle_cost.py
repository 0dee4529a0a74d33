"""What takes the cores when nothing is asked, by kind of process (brokers, databases, each consumer, the harness), and
what the probes of an experiment take besides.

    .venv/bin/python -m loadtests.benchmarks.idle_cost [--size full] [--seconds 30]

The same system is looked at twice, right after one another: with nothing but its own heartbeats, health checks and
polls, and with the prober asking from every region as often as it does in an experiment. The system is started for this
and removed afterwards.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from infra.fabric.process.create import CannotStart
from infra.fabric.process.system import System
from infra.fabric.protocol import StartError
from infra.machine import processes
from infra.machine.progress import say
from loadtests.benchmarks import own_system
from loadtests.benchmarks.write_cost import cores, sampled
from loadtests.engine import environment
from loadtests.engine.prober import ProberSpec
from reports.evidence import RunFolder

_SETTLES_S = 15.0
"""After its start a system checkpoints, prunes and elects; that is no cost of idling."""
_PROBED_FROM_S = 5.0
"""By then the prober has signed in and its connections are open."""
_HARNESS = "harness"
_GENERATORS = (_HARNESS, environment.KIND)


@contextmanager
def probed(system: System, folder: RunFolder) -> Iterator[ProberSpec]:
    """An experiment's probes, while the block runs."""
    spec = ProberSpec(
        folder=str(folder.path), experiment="idle-cost", target=str(system.target_path),
        operations=["read", "write", "publish", "effect"], parent=os.getpid(),
    )  # fmt: skip
    file = folder.path / "prober.spec.json"
    file.write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", "loadtests.engine.prober", str(file)]
    prober = subprocess.Popen(command, env=environment.environment(system.site.run_id))
    try:
        yield spec
    finally:
        processes.end(prober, 10)


def table(counts: Mapping[str, int], idle: Mapping[str, float], probes: Mapping[str, float], rate: str) -> str:
    """A line a kind, the most expensive first: its processes, cores idle, cores with probes, the difference."""
    lines = [f"{'kind':<20} {'processes':>9} {'idle':>8} {'probed':>8} {'probes':>8}"]
    kinds = sorted(idle.keys() | probes.keys(), key=lambda kind: -idle.get(kind, 0.0))
    for kind in kinds:
        before, after = idle.get(kind, 0.0), probes.get(kind, 0.0)
        count = counts.get(kind)
        shown = "" if count is None else f"{count}"
        lines.append(f"{kind:<20} {shown:>9} {before:>8.3f} {after:>8.3f} {after - before:>+8.3f}")
    for name, kept in (("the system", False), ("the harness", True)):
        sums = [sum(used for kind, used in each.items() if (kind in _GENERATORS) is kept) for each in (idle, probes)]
        lines.append(f"{name:<20} {'':>9} {sums[0]:>8.3f} {sums[1]:>8.3f} {sums[1] - sums[0]:>+8.3f}")
    lines.append(f"in cores; probes: {rate}")
    return "\n".join(lines)


def measure(system: System, folder: RunFolder, seconds: float) -> str:
    """The table."""
    os.environ.update({processes.RUN_ID: system.site.run_id, processes.KIND: _HARNESS})
    counts = Counter(part.node.kind for part in system.parts.values() if system.alive(part.node.name))
    with sampled(system.site.run_id) as samples:
        say(f"letting the system settle for {_SETTLES_S:.0f} s, then idle for {seconds:.0f} s")
        time.sleep(_SETTLES_S + seconds)
        idle = _of_the_last(samples, seconds)
        say(f"probing for {_PROBED_FROM_S + seconds:.0f} s")
        with probed(system, folder) as spec:
            time.sleep(_PROBED_FROM_S + seconds)
            probes = _of_the_last(samples, seconds)
    regions = len(system.target().regions)
    rate = f"{', '.join(spec.operations)}, each {spec.rate_hz:g} times a second, the first two from {regions} regions"
    return table(counts, idle, probes, rate)


def _of_the_last(samples: list[tuple[int, Mapping[str, int]]], seconds: float) -> dict[str, float]:
    now_ns = time.monotonic_ns()
    return cores(samples, now_ns - round(seconds * 1e9), now_ns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--size", choices=("core", "full"), default="core")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    try:
        with (
            own_system.started("idle-cost", options.size) as system,
            tempfile.TemporaryDirectory(prefix="covenant-idle-") as scratch,
        ):
            print(measure(system, RunFolder.create(Path(scratch) / "run"), options.seconds))
    except (CannotStart, StartError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()

"""What the emulator of the links between regions costs: how much it adds to a round trip when it adds no delay, and how
much of a core it takes to carry 100 MB/s and nothing at all.

    .venv/bin/python -m loadtests.benchmarks.emulator

Round trips of one byte over a link at delay 0 take turns with round trips within a region, round by round, so that a
noisy minute meets both; what counts is the difference. Bulk goes at a fixed rate over the same link; over one with its
delay a single TCP connection carries what its window allows, which is shown beside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from infra.wan import control, probe
from infra.wan.alone import Network, running

_ADDS_MS_MAX = 1.0
_CORE_MAX = 0.1
_IDLE_CORE_MAX = 0.01
_BULK_MB_S = 100.0

_ROUND_TRIPS = """
import json, socket, sys, time
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
took = []
with socket.create_connection((address, port), 5) as link:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(count):
        began = time.perf_counter()
        link.sendall(b"x")
        link.recv(1)
        took.append(time.perf_counter() - began)
        time.sleep(0.0005)
print(json.dumps(took))
"""
_BULK = """
import socket, sys, time
address, port, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
block = bytes(1 << 18)
with socket.create_connection((address, port), 5) as link:
    sent, began = 0, time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        due = min(rate * now, rate * seconds)
        while sent < due:
            link.sendall(block)
            sent += len(block)
        time.sleep(0.002)
    print(sent / (time.perf_counter() - began) / 1e6)
"""
_SINK = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
while True:
    link, _ = listener.accept()
    with link:
        while link.recv(1 << 20):
            pass
"""


def main() -> int:
    """Print the comparison; 1 if a bound is missed, 3 where the machine allows no namespaces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--round-trips", type=int, default=2000, help="in each round, of each kind")
    parser.add_argument("--seconds", type=float, default=10.0, help="of bulk, and of rest")
    options = parser.parse_args()
    if why := probe.refusal():
        print(f"cannot be measured here: {why}", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="covenant-wan-") as scratch, running(Path(scratch) / "home") as network:
        emulator = psutil.Process(network.pid)
        idle = _share(emulator, lambda: time.sleep(options.seconds))
        print(f"idle: {idle:.4f} of a core")
        planned_ms = network.place.topology.distance_ms("iad", "ams")
        for_bulk = {}
        control.change(network.home, "iad", "ams", delay_ms=0.0)
        adds = _added_ms(network, options.rounds, options.round_trips)
        for round_trip_ms in (0.0, planned_ms):
            control.change(network.home, "iad", "ams", delay_ms=round_trip_ms / 2)
            carried, share = _bulk(network, emulator, options.seconds)
            for_bulk[round_trip_ms] = share / carried * _BULK_MB_S
            print(f"bulk over a round trip of {round_trip_ms:g} ms: {carried:.1f} MB/s on {share:.3f} of a core")
    print(f"expected under {_ADDS_MS_MAX:g} ms added at p99, found {adds:.3f}")
    print(f"expected at most {_CORE_MAX:g} of a core for {_BULK_MB_S:g} MB/s at delay 0, found {for_bulk[0.0]:.3f}")
    print(f"expected under {_IDLE_CORE_MAX:g} of a core when idle, found {idle:.4f}")
    return 0 if adds < _ADDS_MS_MAX and for_bulk[0.0] <= _CORE_MAX and idle < _IDLE_CORE_MAX else 1


def _added_ms(network: Network, rounds: int, count: int) -> float:
    """How much the link adds to the p99 of a round trip, in ms: the median of the rounds."""
    added = []
    with network.echo("iad", "valkey-iad.client") as near, network.echo("ams", "valkey-ams.client") as far:
        print("round trip, ms        within a region        over a link at delay 0")
        print("                      median      p99        median      p99     added at p99")
        for _ in range(rounds):
            here, there = (sorted(json.loads(network.run("iad", _ROUND_TRIPS, *place, count))) for place in (near, far))
            ms = [value * 1e3 for value in (_median(here), _p99(here), _median(there), _p99(there))]
            added.append(ms[3] - ms[1])
            print(f"                    {ms[0]:8.3f} {ms[1]:8.3f}      {ms[2]:8.3f} {ms[3]:8.3f}     {added[-1]:8.3f}")
    return statistics.median(added)


def _bulk(network: Network, emulator: psutil.Process, seconds: float) -> tuple[float, float]:
    """MB/s that were carried at the rate that was asked for, and the emulator's share of a core meanwhile."""
    carried: list[float] = []
    with network.serve("ams", "valkey-ams.client", _SINK) as place:
        arguments = (*place, _BULK_MB_S * 1e6, seconds)
        share = _share(emulator, lambda: carried.append(float(network.run("iad", _BULK, *arguments))))
    return carried[0], share


def _share(process: psutil.Process, work: Callable[[], object]) -> float:
    """CPU seconds a second that a process takes during some work."""
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    work()
    return (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - began)


def _median(ordered: list[float]) -> float:
    return ordered[len(ordered) // 2]


def _p99(ordered: list[float]) -> float:
    return ordered[int(len(ordered) * 0.99)]


if __name__ == "__main__":
    sys.exit(main())

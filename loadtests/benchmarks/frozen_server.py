"""A server that freezes for 5 s in a 60 s load, at full length: the p99 beside what arithmetic demands.

    .venv/bin/python -m loadtests.benchmarks.frozen_server [--seconds 60] [--freeze 5]

Two engines of `api-browse` ask one server (`http_server`) at the same time, one over few connections and one over
many; the server's processes are stopped in the middle and go on later. What is due in the freeze waits for the rest of
it, so of F frozen in T the p99 is F - T / 100, and more where what has piled up has to pass through few connections.
The generator's own lateness must stay what it is without a freeze.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

from infra import target as targets
from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.benchmarks import api_reader, http_server
from loadtests.benchmarks.http_client import Server, target_of
from loadtests.engine.open_loop import RequestsSpec
from loadtests.recording.tally import merge_parts, read_parts
from reports.evidence import percentile_ms

_RATE = 150.0
_CONNECTIONS = (2, 64)
_LEAD_NS = 200_000_000
_END_WITHIN_S = 30.0
_LAG_MAX_MS = 10.0
"""A tenth of the gate of reads: beyond it the row would be INVALID."""
_NS = 1_000_000_000


class Result(NamedTuple):
    connections: int
    p99_ms: float
    lag_ms: float
    answered: bool


def _start(connections: int, seconds: float, scratch: Path, target: Path) -> subprocess.Popen[bytes]:
    folder = scratch / str(connections)
    folder.mkdir()
    spec = RequestsSpec(
        scenario="api-browse", folder=str(folder), target=str(target), part=str(folder / "reader.part.json"),
        arrival=ArrivalProcess(text="constant", points=[(0.0, _RATE), (seconds, _RATE)]), warmup_s=0.0,
        timeout_s=seconds, connections=connections, regions=["iad"],
    )  # fmt: skip
    return api_reader.started(spec, folder)


def _result(connections: int, scratch: Path) -> Result:
    parts = list(read_parts(scratch / str(connections)).values())
    load = merge_parts(parts, scenario="api-browse", warmup_s=0.0, requests=True, settings={})
    p99_ms, lag_ms = percentile_ms(load.operations[0].latencies, 99), percentile_ms(load.schedule_lag, 99)
    assert p99_ms is not None, "requests were made"
    assert lag_ms is not None, "and were released"
    return Result(connections, p99_ms, lag_ms, load.ok == load.offered)


def _signal_server(number: signal.Signals) -> None:
    """All processes of granian, which are the children of this one that listen."""
    for child in psutil.Process().children():
        if "granian" in " ".join(child.cmdline()):
            for process in (child, *child.children(recursive=True)):
                process.send_signal(number)


def run(seconds: float, freeze_s: float) -> tuple[list[Result], float]:
    """The results, and how long the server was frozen, seconds."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="covenant-benchmark-")))
        server = Server(stack.enter_context(http_server.started(None, scratch)), None)
        target = scratch / "target.json"
        targets.write(target_of(server), target)
        running = [_start(each, seconds, scratch, target) for each in _CONNECTIONS]
        begin_ns = time.monotonic_ns() + _LEAD_NS
        for engine in running:
            api_reader.begin(engine, begin_ns)
        time.sleep(seconds / 2)
        _signal_server(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            time.sleep(freeze_s)
        finally:
            _signal_server(signal.SIGCONT)
        frozen_s = time.monotonic() - stopped
        for engine in running:
            engine.wait(seconds + _END_WITHIN_S)
        return [_result(each, scratch) for each in _CONNECTIONS], frozen_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--freeze", type=float, default=5.0)
    options = parser.parse_args()
    results, frozen_s = run(options.seconds, options.freeze)
    expected_ms = (frozen_s - options.seconds / 100) * 1000
    print(f"frozen for {frozen_s:.3f} s of {options.seconds:g} s, {_RATE:g} requests/s each: p99 {expected_ms:,.0f} ms")
    held = True
    for each in results:
        print(f"{each.connections:>4} connections: p99 {each.p99_ms:,.0f} ms, schedule lag p99 {each.lag_ms:.2f} ms")
        held &= each.answered and each.lag_ms <= _LAG_MAX_MS and 0.97 <= each.p99_ms / expected_ms <= 1.25
    if not held:
        sys.exit(f"expected a p99 of 0.97 to 1.25 of that, and at most {_LAG_MAX_MS:g} ms of schedule lag")


if __name__ == "__main__":
    main()

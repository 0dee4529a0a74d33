"""What durability and security cost at 100,000 messages a second: the same load on the same bus under each setting, and
the share of what the machine gives at most.

    .venv/bin/python -m loadtests.benchmarks.bus_ingest
    .venv/bin/python -m loadtests.benchmarks.bus_ingest --scenario event-frames --rate 300000

Each row starts a bus of three nodes of its own (R3, file; nothing else of a system runs beside it) and runs the
scenario on it as `./covenant load run` does: open loop, every number accounted for. Before and after, the bus is
calibrated with a bare publisher, for as long as the noise needs. A rate below the ceiling says little of how much of it
the load can reach; so the same scenario then offers more than the bus takes, and what it keeps of that stands as the
reach, with its share of the ceiling. A share counts only where the cores were full of the servers' work and nothing
exceeded the ceiling (`reports/policy.yaml`); else it is in brackets. What nats-py's `publish_async` does on it, as fast
as it can, stands beside, and how many times that the reach is. Where the time goes is given in cores: servers,
generator and subscriber, kernel, everything else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from infra import target
from infra.fabric.process import bus_alone
from infra.machine import interrupts, sampler
from infra.machine.spec import EngineError
from infra.machine.waiting import until
from infra.target import Target
from infra.topology.options import Options, parse
from loadtests import run as runner
from loadtests.benchmarks.bus_publish import nats_py
from loadtests.engine import load_stream
from loadtests.engine.bus_publisher import RATE_ROW
from loadtests.locust_process import LoadError
from loadtests.request import Request, check
from loadtests.search.calibration import calibrate
from reports.evidence import Calibration, HostSample, Load, Outcome, RunFolder, percentile_ms

_OVER = 1.1
"""Times the ceiling: enough that some is left over, and not so much that what waits costs the servers their cores."""
_READY_WITHIN_S = 30.0
_WATCHER_ENDS_WITHIN_S = 10.0
_SETTINGS = {
    "plain, sync 2m": "tls=off,encryption=off,sync_interval=2m",
    "plain, sync always": "tls=off,encryption=off,sync_interval=always",
    "TLS + AES, sync 2m": "tls=on,encryption=on,sync_interval=2m",
    "TLS + AES, sync always": "tls=on,encryption=on,sync_interval=always",
}
_COLUMNS = (
    "setting                | kept/s    | publish p50, p99 | end to end p99 | lag p99 | unsure | ceiling before, after "
    "| reach, of it     | nats-py, reach is | servers, load, kernel, rest | every number"
)


class Offer(NamedTuple):
    scenario: str
    rate: float
    seconds: float
    reach_s: float
    peer_s: float


def _prepare(reached: Target) -> None:
    """A bus that has just started takes a moment to make a stream."""

    def prepared() -> bool | None:
        try:
            asyncio.run(load_stream.prepare(reached))
        except EngineError:
            return None
        return True

    if until(prepared, _READY_WITHIN_S) is None:
        asyncio.run(load_stream.prepare(reached))  # Once more, for what it says.


@contextmanager
def _watched(folder: RunFolder, run_id: str) -> Iterator[None]:
    """Samples of the machine meanwhile are in the folder afterwards."""
    with subprocess.Popen(sampler.command(folder, run_id, folder.path)) as watcher:
        try:
            yield
        finally:
            watcher.terminate()
            watcher.wait(_WATCHER_ENDS_WITHIN_S)


def _row(name: str, options: Options, offer: Offer) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        with bus_alone.running(place / f"bus-{os.getpid()}", options) as (_, reached):
            file = place / "target.json"
            target.write(reached, file)
            _prepare(reached)
            folder = RunFolder.create(place / "run")
            before = calibrate(offer.scenario, RATE_ROW, "before", target_path=file)
            with _watched(folder, reached.run_id):
                _make(offer, offer.rate, offer.seconds, folder, file)
            after = calibrate(offer.scenario, RATE_ROW, "after", target_path=file)
            reach = _reach(offer, place / "reach", file, before.per_s) if offer.reach_s else None
            peer = None
            if offer.peer_s:
                _prepare(reached)
                peer = asyncio.run(nats_py(reached, offer.peer_s)).per_s
        (load,) = folder.loads()
        told = f"{_told(load, before, after, reach, peer)} | {_cores(folder, load)}"
        return f"{name:<22} | {told} | {_checked(folder, load)}"


def _make(offer: Offer, rate: float, seconds: float, folder: RunFolder, file: Path) -> None:
    asked = check(Request(scenario=offer.scenario, rate=rate, duration_s=seconds))
    runner.run(asked, folder=folder, target_path=file)


def _reach(offer: Offer, place: Path, file: Path, ceiling_per_s: float) -> float | None:
    """What is kept of more than the bus takes, a second; None for what has no ceiling."""
    folder = RunFolder.create(place)
    _make(offer, _OVER * ceiling_per_s, offer.reach_s, folder, file)
    (load,) = folder.loads()
    return _kept(load) if load.rates else None


def _kept(load: Load) -> float:
    # Events in frames are no messages: what was acknowledged of them has no ceiling here.
    completed = sum(rate.completed for rate in load.rates) if load.rates else load.ok
    return load.offered_per_s * completed / max(1, load.offered)


def _told(load: Load, before: Calibration, after: Calibration, reach: float | None, peer: float | None) -> str:
    latencies = {operation.name: operation.latencies for operation in load.operations}
    publish, end_to_end = latencies.get("bus.publish_p99"), latencies.get("bus.end_to_end_p99")
    share = (reach or 0.0) / statistics.mean((before.per_s, after.per_s))
    most = 0.95 * max(before.per_s, after.per_s, reach or 0.0)
    full = all(min(each.busy) >= 0.95 and each.servers > 0.5 and each.per_s > most for each in (before, after))
    ratio = "-" if reach is None else f"{reach:,.0f} {share:.2f}" if full else f"{reach:,.0f} ({share:.2f})"
    p50, p99 = (percentile_ms(publish, percent) if publish else None for percent in (50, 99))
    arrived = percentile_ms(end_to_end, 99) if end_to_end else None
    return (
        f"{_kept(load):>9,.0f} | {_ms(p50)}, {_ms(p99)} | {_ms(arrived):>14} | "
        f"{_ms(percentile_ms(load.schedule_lag, 99))} | {load.failed + load.unknown:>6,} | "
        f"{before.per_s:>10,.0f} {after.per_s:>10,.0f} | {ratio:>16} | "
        f"{f'{peer:,.0f}, {reach / peer:.1f}' if peer and reach else '-':>17}"
    )


def _ms(value: float | None) -> str:
    return "      -" if value is None else f"{value:>7.1f}"


def _cores(folder: RunFolder, load: Load) -> str:
    """How many cores each kind of process used in the measured window."""
    samples = [each for each in folder.host_samples() if load.begin_ns < each.at_ns <= load.end_ns]
    cores = psutil.cpu_count() or 1

    def used(*kinds: str) -> float:
        return cores * statistics.mean(sum(each.by_kind.get(kind, 0.0) for kind in kinds) for each in samples)

    def rest(sample: HostSample) -> float:
        return sample.busy + sample.steal - sum(sample.by_kind.get(kind, 0.0) for kind in ("nats", "load", "kernel"))

    if not samples:
        return f"{'-':>27}"
    left = cores * statistics.mean(map(rest, samples))
    return f"{used('nats'):>6.2f} {used('load'):>6.2f} {used('kernel'):>6.2f} {left:>6.2f}"


def _checked(folder: RunFolder, load: Load) -> str:
    """What the ledger and the stream say together."""
    (hop,) = folder.hops()
    if hop.problem:
        return hop.problem
    ends: dict[Outcome | None, int] = {}
    for span in folder.span_history(load.scenario):
        ends[span.outcome] = ends.get(span.outcome, 0) + span.last - span.first + 1
    found = sum(last - first + 1 for _, first, last in hop.spans)
    doubled = sum(last - first + 1 for _, first, last in hop.doubled_spans)
    sure = ends.get("ok", 0)
    whole = sure <= found <= sure + ends.get("unknown", 0) and not doubled
    told = "each once" if whole else "NOT EACH ONCE"
    return (
        f"{told}: {sure:,} acknowledged, {found:,} found, {doubled:,} doubled, {load.settings['reordered']} reordered"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--scenario", choices=["bus-ingest", "event-frames"], default="bus-ingest")
    parser.add_argument("--rate", type=float, default=100_000.0, help="messages or events a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each row, after the scenario's warm-up")
    parser.add_argument("--reach-seconds", type=float, default=15.0, help="of more than the bus takes; 0: not at all")
    parser.add_argument("--peer-seconds", type=float, default=3.0, help="of nats-py in each row; 0 leaves it out")
    parser.add_argument("--only", action="append", help=f"some of the settings: {'; '.join(_SETTINGS)}")
    given = parser.parse_args()
    # SIGTERM ends its servers, too.
    interrupts.raise_interrupt()
    offer = Offer(given.scenario, given.rate, given.seconds, given.reach_seconds, given.peer_seconds)
    print(f"{offer.scenario}: R3, file, 128 B, {offer.rate:,.0f}/s for {offer.seconds:.0f} s")
    print(_COLUMNS)
    try:
        for name, chosen in _SETTINGS.items():
            if not given.only or name in given.only:
                print(_row(name, parse(chosen.split(",")), offer), flush=True)
    except LoadError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

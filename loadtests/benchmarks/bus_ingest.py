"""What durability and security cost at 100,000 messages a second: the same load on the same bus under each setting.

    .venv/bin/python -m loadtests.benchmarks.bus_ingest

Each row starts a bus of three nodes of its own (R3, file; nothing else of a system runs beside it), offers the rate
open loop, and tells what was stored and acknowledged and how long that took from the intended send. The subscriber that
checks every number reads when the load is over: it would take its share of the same cores. What nats-py's
`publish_async` does on the same bus, as fast as it can, stands beside.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from infra import bus_alone, target
from infra.options import Options, parse
from infra.target import Target
from loadtests.benchmarks.bus_publish import nats_py
from loadtests.engine import load_stream, numbered
from loadtests.engine.arrival import even
from loadtests.engine.arrivals import Arrivals
from loadtests.engine.bus_publisher import BusPublisherSpec
from loadtests.engine.ordered_consumer import Deliveries, OrderedConsumer, Shape
from loadtests.engine.process import EngineError, Go
from loadtests.engine.publish_modes import ModeName
from loadtests.engine.tally import Part
from reports.evidence import RunFolder, percentile_ms
from reports.evidence.folder import read_record

_SUBJECT = "load.benchmark"
_BURST_S = 0.003
_WARMUP_S = 2.0
_LEAD_NS = 300_000_000
_READY_WITHIN_S = 30.0
_READ_WITHIN_S = 180.0
_SETTINGS = {
    "plain, sync 2m": "tls=off,encryption=off,sync_interval=2m",
    "plain, sync always": "tls=off,encryption=off,sync_interval=always",
    "TLS + AES, sync 2m": "tls=on,encryption=on,sync_interval=2m",
    "TLS + AES, sync always": "tls=on,encryption=on,sync_interval=always",
}


class Offer(NamedTuple):
    rate: float
    seconds: float
    mode: ModeName
    batch: int
    window: int


def _prepare(reached: Target) -> int:
    """A bus that has just started takes a moment to make a stream."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        try:
            return asyncio.run(load_stream.prepare(reached))
        except EngineError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _publish(place: Path, offer: Offer, pids: list[int]) -> str:
    """Run the publisher's process; its row of the table."""
    (place / "evidence").mkdir(exist_ok=True)
    spec = BusPublisherSpec(
        scenario="benchmark", folder=str(place), target=str(place / "target.json"), part=str(place / "part.json"),
        subject=_SUBJECT, publisher=1, arrival=even(offer.rate, offer.seconds), warmup_s=_WARMUP_S,
        burst=max(1, round(offer.rate * _BURST_S)), mode=offer.mode, batch=offer.batch, window=offer.window,
    )  # fmt: skip
    (place / "spec.json").write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", "loadtests.engine.bus_publisher", str(place / "spec.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as publisher:
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        publisher.stdout.readline()  # It is ready.
        servers, idle, began = _cpu_s(pids), psutil.cpu_times().idle, time.monotonic()
        publisher.stdin.write(msgspec.json.encode(Go(begin_ns=time.monotonic_ns() + _LEAD_NS)) + b"\n")
        publisher.stdin.flush()
        for _ in publisher.stdout:
            pass  # What Locust would show; it ends with the publisher.
        took_s = time.monotonic() - began
        servers, idle = _cpu_s(pids) - servers, psutil.cpu_times().idle - idle
    part = read_record(place / "part.json", Part)
    latencies = part.operations[0].latencies if part.operations else None
    cores = psutil.cpu_count() or 1
    p50, p99 = (percentile_ms(latencies, percent) if latencies else None for percent in (50, 99))
    lag = percentile_ms(part.schedule_lag, 99) if part.schedule_lag else None
    return (
        f"{part.ok / offer.seconds:>9,.0f} | {_ms(p50)} | {_ms(p99)} | {_ms(lag)} | {part.failed + part.unknown:>6,} | "
        f"{servers / took_s:>5.2f} | {1 - idle / took_s / cores:>5.0%}"
    )


def _ms(value: float | None) -> str:
    return "      -" if value is None else f"{value:>7.1f}"


def _cpu_s(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


async def _check(reached: Target, first: int, expected: int) -> str:
    """Read the whole stream, and say whether it holds each number once."""
    arrivals = Arrivals()

    def one(subject: bytes, payload: bytes, sequence: int, stored_ns: int, wall_ns: int, mono_ns: int) -> None:
        if (read := numbered.read(payload)) is not None:
            arrivals.add(sequence, read[0], read[1])

    def many(batch: Deliveries) -> None:
        publishers, numbers, _ = numbered.read_heads(b"".join(batch.heads))
        whole = numbers == list(range(numbers[0], numbers[0] + len(numbers))) and len(set(publishers)) == 1
        if not whole or not arrivals.add_run(batch.sequences[0], publishers[0], numbers[0], len(numbers)):
            for at, sequence in enumerate(batch.sequences):
                arrivals.add(sequence, publishers[at], numbers[at])

    shape = Shape(_SUBJECT.encode(), 128, numbered.MIN_PAYLOAD_BYTES, many)
    _, last = await load_stream.bounds(reached)
    consumer = OrderedConsumer(reached, load_stream.NAME, first, one, name="benchmark", shape=shape)
    began = time.monotonic()
    while not consumer.reached(last) and time.monotonic() - began < _READ_WITHIN_S:
        await asyncio.sleep(0.1)
    took_s = time.monotonic() - began
    await consumer.close()
    whole = arrivals.spans == [(1, 0, expected - 1)] and not arrivals.doubled_spans
    found = sum(last - first + 1 for _, first, last in arrivals.spans)
    return f"each once, in order, {found / took_s:,.0f}/s" if whole else f"{found:,} of {expected:,}; NOT EACH ONCE"


def _row(name: str, options: Options, offer: Offer, peer_s: float) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        with bus_alone.running(place / "bus", options) as (system, reached):
            target.write(reached, place / "target.json")
            first = _prepare(reached)
            pids = [pid for part in system.parts if (pid := system.pid(part)) is not None]
            told = _publish(place, offer, pids)
            sent = max(span.last for span in RunFolder(place).span_history("benchmark")) + 1
            checked = asyncio.run(_check(reached, first, sent))
            peer = "-"
            if peer_s:
                _prepare(reached)
                peer = f"{asyncio.run(nats_py(reached, peer_s)).per_s:,.0f}"
    return f"{name:<22} | {told} | {peer:>7} | {checked}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=100_000.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each row, after a warm-up of 2")
    parser.add_argument("--mode", choices=["singles", "atomic", "fast"], default="fast")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--window", type=int, default=16_384, help="unacknowledged messages at most")
    parser.add_argument("--peer-seconds", type=float, default=3.0, help="of nats-py in each row; 0 leaves it out")
    parser.add_argument("--only", action="append", help=f"some of the settings: {'; '.join(_SETTINGS)}")
    given = parser.parse_args()
    offer = Offer(given.rate, given.seconds, given.mode, given.batch, given.window)
    print(f"R3, file, 128 B, {offer.rate:,.0f} msg/s for {offer.seconds:.0f} s, {offer.mode}, {offer.batch} a batch")
    print(
        "setting                | acked/s   | p50 ms  | p99 ms  | lag p99 | unsure | cores | busy  | nats-py | stream"
    )
    for name, chosen in _SETTINGS.items():
        if not given.only or name in given.only:
            print(_row(name, parse(chosen.split(",")), offer, given.peer_seconds), flush=True)


if __name__ == "__main__":
    main()
